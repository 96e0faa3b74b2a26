import json

import aws_cdk as cdk
import cdk_nag
import pytest

from stacks.bundle import Bundle
from stacks.classifier_stack import ClassifierStack
from stacks.settings import Settings
from tests.support.requests import ROOT
from tests.support.synthesis import Synth, Synthesized


@pytest.fixture(scope="session")
def synth(tmp_path_factory: pytest.TempPathFactory) -> Synth:
    """The real synthesis under cdk-nag's two packs, once for each combination of settings."""
    done: dict[str, Synthesized] = {}

    def synthesize(**given: object) -> Synthesized:
        key = json.dumps(given, sort_keys=True)
        if key not in done:
            folder = tmp_path_factory.mktemp("cdk")
            settings = Settings.read({"bundle": "models/demo", "synth_only": True, **given})
            app = cdk.App(outdir=str(folder))
            ClassifierStack(app, settings=settings, bundle=Bundle.read(ROOT, settings), root=ROOT)
            cdk.Validations.of(app).add_plugins(cdk_nag.AwsSolutionsChecks(app))
            cdk.Validations.of(app).add_plugins(cdk_nag.ServerlessChecks(app))
            app.synth()
            template = json.loads(
                (folder / f"{settings.name}.template.json").read_text(encoding="utf-8")
            )
            report = json.loads((folder / "validation-report.json").read_text(encoding="utf-8"))[
                "pluginReports"
            ]
            done[key] = Synthesized(template, report, folder)
        return done[key]

    return synthesize
