import fcntl
import hashlib
import json
from pathlib import Path

import aws_cdk as cdk
import cdk_nag
import pytest

from stacks.settings.deployment import Settings
from tests.support.synthesis import Synth, Synthesized, new_app, new_stack, read_settings

REPORT = "validation-report.json"


def synthesize_into(folder: Path, settings: Settings) -> None:
    app = new_app(folder)
    new_stack(app, settings)
    cdk.Validations.of(app).add_plugins(cdk_nag.AwsSolutionsChecks(app))
    cdk.Validations.of(app).add_plugins(cdk_nag.ServerlessChecks(app))
    app.synth()


@pytest.fixture(scope="session")
def synth(tmp_path_factory: pytest.TempPathFactory) -> Synth:
    """The real synthesis under cdk-nag's two packs, once for each combination of settings in a run,
    however many processes share the run.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if base.name.startswith("popen-") else base

    def synthesize(**given: object) -> Synthesized:
        key = hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:16]
        folder = shared / f"cdk-{key}"
        settings = read_settings(**given)
        with (shared / f"cdk-{key}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / REPORT).exists():
                synthesize_into(folder, settings)
        template = json.loads((folder / f"{settings.name}.template.json").read_bytes())
        report = json.loads((folder / REPORT).read_bytes())["pluginReports"]
        return Synthesized(template, report, folder)

    return synthesize
