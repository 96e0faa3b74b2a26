import hashlib
import json
from pathlib import Path

import aws_cdk as cdk
import cdk_nag
import pytest

from stacks.settings.deployment import Settings
from tests.support.once import once
from tests.support.synthesis import Synth, Synthesized, new_app, new_stack, read_settings


def synthesize_into(folder: Path, settings: Settings) -> None:
    app = new_app(folder)
    new_stack(app, settings)
    cdk.Validations.of(app).add_plugins(cdk_nag.AwsSolutionsChecks(app))
    cdk.Validations.of(app).add_plugins(cdk_nag.ServerlessChecks(app))
    app.synth()


@pytest.fixture(scope="session")
def synth(shared: Path) -> Synth:
    """The real synthesis under cdk-nag's two packs, once for each combination of settings in a run,
    however many processes share the run.
    """

    def synthesize(**given: object) -> Synthesized:
        key = hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:16]
        settings = read_settings(**given)
        folder = once(shared / f"cdk-{key}", lambda folder: synthesize_into(folder, settings))
        template = json.loads((folder / f"{settings.name}.template.json").read_bytes())
        report = json.loads((folder / "validation-report.json").read_bytes())["pluginReports"]
        return Synthesized(template, report, folder)

    return synthesize
