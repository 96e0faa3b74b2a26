"""Whether two machines export the same bytes: processors with other instructions and other numbers
of threads, by environment variable.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from classifier.contract.bundle import sha256
from tests.support.requests import ROOT

MODEL = "ViT-S-32-alt"
PREPROCESSING = {
    "mean": [0.5] * 3,
    "std": [0.5] * 3,
    "interpolation": "bicubic",
    "quick_gelu": False,
}
OLD_PROCESSOR = {
    "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3",
    "OPENBLAS_CORETYPE": "Prescott",
}
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    subprocess.run([sys.executable, "-m", "dev.weights", MODEL, str(path)], cwd=ROOT, check=True)
    return path


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_model_is_the_same_bytes_and_only_measurements_differ(
    weights: Path, tmp_path: Path, precision: str
) -> None:
    bundles = []
    for name, variables in {"usual": {}, "old": OLD_PROCESSOR, "one": ONE_THREAD}.items():
        folder = tmp_path / name
        command = [
            sys.executable,
            "-m",
            "export",
            "--model",
            MODEL,
            "--pretrained",
            str(weights),
            "--precision",
            precision,
        ]
        options = [
            "--pretrained-cfg",
            json.dumps(PREPROCESSING),
            "--crops",
            "12",
            "--output",
            str(folder),
        ]
        done = subprocess.run(
            [*command, *options],
            cwd=ROOT,
            env=os.environ | variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        manifest = json.loads((folder / "bundle.json").read_text())
        measured = manifest.pop("fidelity")
        digests = {
            file.name: sha256(file) for file in folder.iterdir() if file.name != "bundle.json"
        }
        bundles.append((digests, manifest))
        assert measured
    assert bundles[1:] == bundles[:1] * 2
