"""The real synthesis, without the CDK's command line."""

import json
from pathlib import Path
from typing import Any

import aws_cdk as cdk

from stacks.bundle import Bundle
from stacks.classifier_stack import ClassifierStack
from stacks.settings import Settings
from tests.support.requests import ROOT


def synthesize(folder: Path, **context: object) -> Path:
    """Writes template and assets into the folder, for the demo bundle unless `bundle` names
    another; returns the template's path.
    """
    settings = Settings.read({"bundle": "models/demo", "synth_only": True, **context})
    app = cdk.App(outdir=str(folder))
    ClassifierStack(app, settings=settings, bundle=Bundle.read(ROOT, settings), root=ROOT)
    app.synth()
    return folder / f"{settings.name}.template.json"


def image_source(template: Path) -> dict[str, Any]:
    """What the image is built from: directory (absolute), dockerFile, dockerBuildArgs, platform."""
    (image,) = json.loads(
        template.with_name(template.name.replace(".template.", ".assets.")).read_bytes()
    )["dockerImages"].values()
    source: dict[str, Any] = image["source"]
    return source | {"directory": str(template.parent / source["directory"])}
