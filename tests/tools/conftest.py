import shutil
from pathlib import Path

import pytest

from tests.support.requests import ROOT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Drawings in a folder of a folder, a damaged one, and files that are no images."""
    found = tmp_path / "pictures"
    shutil.copytree(ROOT / "examples" / "images", found / "inner")
    (found / "bad.jpg").write_bytes(b"no image")
    (found / "notes.txt").write_text("text", encoding="utf-8")
    (found / ".hidden.jpg").write_bytes(b"")
    return found
