import shutil
from pathlib import Path

import pytest

from tests.support.deployment import Programs
from tests.support.requests import ROOT


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    """Everything that a deployment needs, with nothing wrong."""
    made = Programs(tmp_path)
    made.add("node", "echo v24.1.0")
    made.add("docker", "exit 0")
    made.aws()
    return made


@pytest.fixture
def inside(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> Programs:
    """For calls in this process, to which a pause can be passed."""
    monkeypatch.setenv("PATH", str(programs.folder))
    return programs


@pytest.fixture
def cdk_json(tmp_path: Path) -> Path:
    """A copy that may be written to."""
    path = tmp_path / "cdk.json"
    shutil.copy(ROOT / "cdk.json", path)
    return path
