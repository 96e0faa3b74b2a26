import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.account import Account, account, clone
from tests.support.image_store import HOME
from tests.support.requests import DEMO

BUNDLE = "models/ViT-B-32-quickgelu-openai"


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


def real_model(folder: Path) -> None:
    """The demo's bundle under the name of the default model, which may be deployed."""
    shutil.copytree(DEMO, folder)
    manifest = json.loads((folder / "bundle.json").read_bytes())
    manifest |= {"model": "ViT-B-32-quickgelu", "pretrained": "openai"}
    (folder / "bundle.json").write_text(json.dumps(manifest))
