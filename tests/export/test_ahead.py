"""Weights that arrive while packages are installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.export.test_hub import fetch
from tests.support.hub import CONTENT, ROOT, Hub

MODEL = ("--model", "ViT-B-32-quickgelu", "--pretrained", "openai")


def ahead(hub: Hub, folder: Path, *model: str, parent: int | None = None) -> str:
    """What it says. Without any package."""
    arguments = (*(model or MODEL), "--parent", str(parent or os.getpid()))
    done = subprocess.run(
        [sys.executable, "-S", "export/ahead.py", *arguments],
        env={
            "PATH": os.environ["PATH"],
            "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_address[1]}",
            "HF_HOME": str(folder / "cache"),
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "")
    return done.stderr


def parts(folder: Path) -> list[int]:
    return [part.stat().st_size for part in folder.glob("cache/hub/*/blobs/*.ahead")]


def weights_asked(hub: Hub) -> list[str]:
    asked = [one for one in hub.requests if "GET" in one and "safetensors" in one]
    hub.requests.clear()
    return [one.partition("bytes=")[2] for one in asked]


def test_weights_that_came_ahead_are_not_fetched_again(hub: Hub, tmp_path: Path) -> None:
    assert "0 MB" in ahead(hub, tmp_path)
    assert weights_asked(hub) == ["0-"]
    done = fetch(hub, tmp_path)
    assert hub.sha256 in done.stdout, done.stderr
    assert weights_asked(hub) == []
    assert ahead(hub, tmp_path) == ""
    assert parts(tmp_path) == []


def test_what_was_interrupted_is_finished_by_the_next_that_comes(hub: Hub, tmp_path: Path) -> None:
    hub.trouble = "cut"
    ahead(hub, tmp_path)
    quarter = len(CONTENT) // 4
    assert parts(tmp_path) == [quarter]
    ahead(hub, tmp_path)
    assert parts(tmp_path) == [2 * quarter]
    hub.trouble = ""
    weights_asked(hub)
    done = fetch(hub, tmp_path)
    assert hub.sha256 in done.stdout, done.stderr
    assert weights_asked(hub) == [f"{2 * quarter}-"]
    assert parts(tmp_path) == []


def test_it_ends_with_make(hub: Hub, tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    ahead(hub, tmp_path, parent=gone.pid)
    assert parts(tmp_path) != []
    assert hub.sha256 in fetch(hub, tmp_path).stdout


@pytest.mark.parametrize("trouble", ["missing", "gated", "changed"])
def test_what_goes_wrong_is_left_to_the_hubs_client(hub: Hub, trouble: str, tmp_path: Path) -> None:
    hub.trouble = trouble
    assert "Traceback" not in ahead(hub, tmp_path)
    assert "error" in fetch(hub, tmp_path).stderr


def test_neither_unknown_models_nor_limited_licences_are_fetched(hub: Hub, tmp_path: Path) -> None:
    assert ahead(hub, tmp_path, "--model", "none", "--pretrained", "openai") == ""
    assert ahead(hub, tmp_path, "--model", "ViT-B-32", "--pretrained", "weights.bin") == ""
    hub.licence = "license: other\nlicense_name: apple-amlr"
    assert ahead(hub, tmp_path) == ""
    assert weights_asked(hub) == []
