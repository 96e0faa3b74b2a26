"""The real synthesis, without the CDK's command line."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aws_cdk as cdk

from classifier.engine.check import check_prompts
from stacks.bundle import Bundle
from stacks.classifier_stack import ClassifierStack
from stacks.settings.deployment import Settings
from tests.support.requests import ROOT

BULK = {"bulk_bucket": "create"}
UPLOADS = {**BULK, "on_upload": "examples/on_upload.json"}


@dataclass(frozen=True)
class Synthesized:
    """A template, cdk-nag's report on it, and its folder."""

    template: dict[str, Any]
    report: list[dict[str, Any]]
    folder: Path

    def all(self, kind: str) -> list[dict[str, Any]]:
        """The properties of every resource of a kind, such as Lambda::Function."""
        return [
            resource.get("Properties", {})
            for resource in self.template["Resources"].values()
            if resource["Type"] == f"AWS::{kind}"
        ]

    def one(self, kind: str) -> dict[str, Any]:
        (properties,) = self.all(kind)
        return properties

    def methods(self) -> dict[str, dict[str, Any]]:
        """By method and path."""

        def path(resource: dict[str, Any]) -> str:
            if "Ref" not in resource:
                return ""
            part = self.template["Resources"][resource["Ref"]]["Properties"]
            return f"{path(part['ParentId'])}/{part['PathPart']}"

        return {
            f"{method['HttpMethod']} {path(method['ResourceId']) or '/'}": method
            for method in self.all("ApiGateway::Method")
        }

    def throttles(self) -> dict[str, tuple[float, int]]:
        """Rate and burst by path and method, as the stage has them."""
        return {
            f"{method['ResourcePath']} {method['HttpMethod']}": (
                method["ThrottlingRateLimit"],
                method["ThrottlingBurstLimit"],
            )
            for method in self.one("ApiGateway::Stage")["MethodSettings"]
        }

    def outputs(self) -> set[str]:
        return set(self.template["Outputs"])


Synth = Callable[..., Synthesized]


def new_app(folder: Path, **context: object) -> cdk.App:
    """Writes into the folder, without the CDK's own checks of the template, which take seconds a
    process: cfn-lint checks templates, and the CDK does if app.py runs.
    """
    return cdk.App(
        outdir=str(folder),
        context=context,
        builtin_cloud_formation_validation=False,
        confirm_validation_plugins_do_not_mutate=False,
    )


def new_stack(
    app: cdk.App, settings: Settings, kind: type[ClassifierStack] = ClassifierStack
) -> ClassifierStack:
    bundle = Bundle.read(ROOT, settings, check_prompts)
    return kind(app, settings=settings, bundle=bundle, root=ROOT)


def read_settings(**context: object) -> Settings:
    """For the demo bundle unless `bundle` names another."""
    return Settings.read({"bundle": "models/demo", "synth_only": True, **context})


def synthesize(folder: Path, **context: object) -> Path:
    """Writes template and assets into the folder; returns the template's path."""
    settings = read_settings(**context)
    app = new_app(folder)
    new_stack(app, settings)
    app.synth()
    return folder / f"{settings.name}.template.json"


def image_source(template: Path) -> dict[str, Any]:
    """What the image is built from: directory (absolute), dockerFile, dockerBuildArgs, platform."""
    (image,) = json.loads(
        template.with_name(template.name.replace(".template.", ".assets.")).read_bytes()
    )["dockerImages"].values()
    source: dict[str, Any] = image["source"]
    return source | {"directory": str(template.parent / source["directory"])}
