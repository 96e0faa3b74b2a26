import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.account import Account, account, clone, listening, processes
from tests.support.account_files import BRIDGE
from tests.support.image_store import HOME
from tests.support.requests import DEMO

BUNDLE = "models/ViT-B-32-quickgelu-openai"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The account that everything begins with is an empty one."""
    items.sort(key=lambda item: item.path.name != "test_deploy.py")


@pytest.fixture(scope="session")
def aws() -> Iterator[Account]:
    """An empty account, with a fresh clone."""
    folder = HOME / "clone"
    clone(folder)
    real_model(folder / BUNDLE)
    configuration = json.loads((folder / "cdk.json").read_bytes())
    # Debian's podman can't build for another processor.
    configuration["context"]["architecture"] = "x86_64"
    (folder / "cdk.json").write_text(json.dumps(configuration, indent=2))
    with account(folder) as made:
        yield made
        addresses = listening()
    assert addresses
    assert not [one for one in addresses if not one.startswith("127.") and one != BRIDGE]
    deadline = time.monotonic() + 10
    while (left := processes()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left
    # The store of the images goes when the tests end.
    mounts = re.findall(rf" ({HOME}\S*) ", Path("/proc/mounts").read_text())
    assert set(mounts) <= {f"{HOME}/store/overlay"}


def real_model(folder: Path, model: str = "ViT-B-32-quickgelu", pretrained: str = "openai") -> None:
    """The demo's bundle under the name of a model that may be deployed."""
    shutil.copytree(DEMO, folder)
    manifest = json.loads((folder / "bundle.json").read_bytes())
    manifest |= {"model": model, "pretrained": pretrained}
    (folder / "bundle.json").write_text(json.dumps(manifest))
