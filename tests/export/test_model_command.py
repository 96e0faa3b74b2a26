"""The real download code against a loopback server that stands in for the hub."""

import json
from pathlib import Path

from safetensors.numpy import save_file

from dev.weights import plain
from export.sources.architecture import Architecture
from export.sources.source import read_table
from tests.support.from_hub import NO_TORCH
from tests.support.hub import COMMIT, FILE, REPOSITORY, Hub, run, serving

MODEL = "ViT-B-32-quickgelu"


TAG = "openai"


def test_the_usual_model_needs_no_torch_and_tells_what_comes_next(tmp_path: Path) -> None:
    file = tmp_path / FILE
    save_file(plain(Architecture.model_validate(read_table()["architectures"][MODEL])), file)
    for hub in serving(Hub(file.read_bytes())):
        arguments = [
            "--model",
            "ViT-B-32",
            "--pretrained",
            TAG,
            "--precision",
            "fp32",
            "--crops",
            "4",
        ]
        done = run(
            ["-c", NO_TORCH, *arguments, "--output", str(tmp_path / "bundle")],
            tmp_path,
            f"http://127.0.0.1:{hub.server_address[1]}",
        )
        assert done.returncode == 0, done.stderr
        manifest = json.loads((tmp_path / "bundle" / "bundle.json").read_text())
        assert manifest["weights"] == {
            "source": REPOSITORY,
            "revision": COMMIT,
            "sha256": hub.sha256,
        }
        assert (manifest["licence"], manifest["model"], manifest["pretrained"]) == (
            "mit",
            MODEL,
            TAG,
        )
        assert manifest["languages"] == ["en"]
        assert "numpy" in manifest["fidelity"]["checked_against"]
        # The name without QuickGELU is taken, with a note.
        assert f"trained with QuickGELU: taking {MODEL}" in done.stderr
        assert f"make demo BUNDLE={tmp_path / 'bundle'}" in done.stderr


def test_a_model_that_needs_torch_is_told_apart_with_the_size_of_torch(tmp_path: Path) -> None:
    arguments = [
        "--model",
        "convnext_tiny",
        "--pretrained",
        "weights.pt",
        "--output",
        str(tmp_path / "bundle"),
    ]
    code = (
        "import importlib.util as u; find = u.find_spec; u.find_spec = lambda name, *rest: None if"
        " name == 'torch' else find(name, *rest); "
    )
    done = run(["-c", code + NO_TORCH, *arguments], tmp_path, "http://127.0.0.1:9")
    assert done.returncode == 3, done.stderr
    assert "needs torch" in done.stderr
    assert "GB" in done.stderr
