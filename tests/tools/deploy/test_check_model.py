"""Which bundle a deployment takes."""

import shutil
from pathlib import Path

import pytest

from stacks.settings.deployment import Settings
from tests.support.local import bundle
from tools.deploy import checks


def test_whoever_has_another_bundle_is_told_that_the_default_one_is_deployed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = bundle(tmp_path / "models" / "mine", model="mine")
    default = Settings.read(checks.context())

    def noted() -> str:
        checks.check_model(default, tmp_path)
        return capsys.readouterr().out

    other = ". To deploy another bundle that is here: BUNDLE=models/mine\n"
    assert noted().endswith(f"is missing and is made first{other}")
    bundle(tmp_path / default.bundle, model="default")
    assert noted().endswith(f"is deployed{other}")
    checks.check_model(Settings.read({"bundle": "models/other"}), tmp_path)
    shutil.rmtree(mine)
    assert noted() == ""
