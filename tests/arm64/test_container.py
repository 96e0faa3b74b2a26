"""The ARM64 image as it is deployed, started by its own entry in a sandbox like Lambda's, on an
emulated Graviton2, with each bundle of build/from-hub. make test-arm64 writes the quickest; others,
before it, for minutes: .venv-export/bin/python -m tests.support.from_hub build/from-hub
MobileCLIP2-S0 ViT-B-32-SigLIP2-256 xlm-roberta-base-ViT-B-32
"""

import base64
import json
import os
import sys
import time
from pathlib import Path

import pytest

from tests.arm64.test_arm64 import ANSWERS, GRAVITON2
from tests.support.container import PODMAN, invoke, needs_podman, running
from tests.support.image_store import image
from tests.support.machine import emulate_arm64, run
from tests.support.requests import ROOT

BUNDLES = sorted(path.parent for path in ROOT.glob("build/from-hub/*/bundle.json"))
LABELS = ["a dog", "eine Katze", "собака"]


def test_there_are_bundles() -> None:
    assert BUNDLES


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_the_arm64_container_says_what_x86_64_says(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    needs_podman(qemu_aarch64_static="qemu-user-static")
    photograph = (ROOT / "examples" / "images" / "dog.jpg").read_bytes()
    body = {
        "image_data": base64.b64encode(photograph).decode(),
        "labels": LABELS,
        "multi_label": True,
    }
    event = {
        "httpMethod": "POST",
        "resource": "/",
        "headers": {"Content-Type": "application/json"},
        "body": json.dumps(body),
    }
    here = os.environ | {"PYTHONPATH": str(ROOT / "lambdas"), "CLIP_BUNDLE": str(bundle)}
    _, [native] = json.loads(
        run(sys.executable, "-c", ANSWERS, input=json.dumps([event]), env=here)
    )
    name = image("arm64", bundle)
    emulate_arm64()
    processors = tmp_path / "cpuinfo"
    processors.write_text("".join(GRAVITON2.format(core) for core in range(2)))
    began = time.monotonic()
    with running(
        name,
        "--arch=arm64",
        "--env=QEMU_CPU=neoverse-n1",
        "--env=AWS_LAMBDA_FUNCTION_TIMEOUT=900",
        f"--volume={processors}:/proc/cpuinfo:ro",
    ) as container:
        answer = json.loads(invoke(container, json.dumps(event)))
        assert run(*PODMAN, "exec", container, "uname", "-m") == "aarch64"
    assert answer.get("statusCode") == native["statusCode"] == 200, answer
    result, expected = (json.loads(one["body"])["result"] for one in (answer, native))
    # A sigmoid's probabilities are tiny on random weights.
    most = max(abs(result[label] / expected[label] - 1) for label in LABELS)
    with capsys.disabled():
        print(
            f"\n{bundle.name}: no probability differs from x86_64's by more than {most:.1e} of"
            f" its size, {time.monotonic() - began:.0f} s"
        )
    assert list(result) == LABELS
    assert most <= 1e-4
