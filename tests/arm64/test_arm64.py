"""The ARM64 image's own files on an emulated Graviton2, in a sandbox like Lambda's; nothing of its
base needs to be configured.

build/steps holds a small CLIP's encoders in every precision, build/other-towers bundles of other
models: make test-arm64 writes them with the exporter.
"""

import base64
import json
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.support.base_image import BASE
from tests.support.image_store import image, mounted
from tests.support.machine import emulate_arm64, needs, run
from tests.support.requests import DEMO, ROOT
from tools.local.demo import SAMPLES

# Graviton2's cores are Neoverse N1: int8 dot product and fp16, no bf16, no i8mm.
GRAVITON2 = """processor	: {}
BogoMIPS	: 243.75
Features	: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp ssbs
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x3
CPU part	: 0xd0c
CPU revision	: 1

"""  # noqa: E501
ANSWERS = """import json, os, platform, sys
from classifier.main import handler

class Context:
    aws_request_id = "0"
    def get_remaining_time_in_millis(self):
        return 29_000

answers = [handler(event, Context()) for event in json.load(sys.stdin)]
machine = {"machine": platform.machine(), "python": platform.python_version()[:4]}
machine["sees_cpus"] = os.path.exists("/sys/devices/system/cpu")
print(json.dumps([machine, answers]))"""

EMBEDDINGS = """import json, os, pathlib, sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np, onnxruntime
from classifier.contract.bundle import read_manifest
from classifier.model.texts import TextRuns, beginnings

folder, result = pathlib.Path(sys.argv[1]), {}
settings = read_manifest(pathlib.Path(os.environ["CLIP_BUNDLE"]), verify_hashes=False).text
inputs = np.load(folder / "inputs.npz")
pixels = list(inputs["image"])
texts = [tuple(row[row > 0].tolist()) for row in inputs["text"]]
begun = frozenset(beginning for ids in texts for beginning in beginnings(ids))

def images(session, items, begun):
    return session.run(None, {"pixels": np.stack(items)})[0]

def embed(session, items, begun):
    return np.stack(TextRuns(session, settings, ThreadPoolExecutor(1), 1).embed(items, begun))

for path in sorted(folder.glob("*/*.onnx")):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    run, items = (embed, texts) if path.stem == "text" else (images, pixels)
    together = run(session, items, begun)
    alone = np.concatenate([run(session, [item], frozenset()) for item in items])
    same = bool(np.array_equal(together, alone))
    result[f"{path.stem}-{path.parent.name}"] = together.tolist(), same
print(json.dumps(result))"""
STEPS = ROOT / "build" / "steps"
# Images that may share a run, and texts, together and then alone but for the first image.
TOWERS = """import json, pathlib, sys
import numpy as np
from classifier.api.handler import Handler
from classifier.model.encoders import Encoders

class Context:
    aws_request_id = "0"
    def get_remaining_time_in_millis(self):
        return 29_000

LABELS = ["a photo of a dog", "a cat", "Katze \\U0001f431"]
result = {}
for folder in sorted(path.parent for path in pathlib.Path(sys.argv[1]).glob("*/bundle.json")):
    encoders = Encoders.load(folder, threads=1)
    image = encoders.manifest.image
    count = 2 if image.max_batch > 1 else 1
    shape = count, image.size, image.size, 3
    squares = list(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    prompts = [encoders.tokenizer.encode(label) for label in LABELS]
    rows = [*encoders.encode_images(squares), *encoders.encode_text(prompts)]
    texts = [encoders.encode_text([one])[0] for one in prompts]
    alone = [*encoders.encode_images(squares[1:]), *texts]
    body = {"image_embedding": rows[0].tolist(), "labels": LABELS, "multi_label": True}
    headers = {"Content-Type": "application/json"}
    event = {"httpMethod": "POST", "resource": "/", "headers": headers, "body": json.dumps(body)}
    answer = Handler(encoders)(event, Context())
    same = np.array_equal(rows[1:], alone)
    result[folder.name] = np.stack(rows).tolist(), same, json.loads(answer["body"])["result"]
print(json.dumps(result))"""
BUNDLES = ROOT / "build" / "other-towers"


def events() -> str:
    bodies = [
        json.dumps(
            {
                "image_data": (
                    base64.b64encode((ROOT / "examples/images" / name).read_bytes()).decode()
                ),
                "labels": labels,
            }
        )
        for name, labels in SAMPLES.items()
    ]
    headers = {"Content-Type": "application/json"}
    return json.dumps(
        [
            {"httpMethod": "POST", "resource": "/", "headers": headers, "body": body}
            for body in bodies
        ]
    )


@contextmanager
def processes(root: Path) -> Iterator[None]:
    """Mounts /proc, as Lambda has it, with a Graviton2's processors in it. ONNX Runtime opens the
    weights next to a graph through /proc/self/fd.
    """
    (root / "cpuinfo").write_text("".join(GRAVITON2.format(core) for core in range(2)))
    run("mount", "-t", "proc", "proc", root / "proc")
    try:
        run("mount", "--bind", root / "cpuinfo", root / "proc/cpuinfo")
        yield
    finally:
        run("umount", "--recursive", root / "proc")


def test_graviton2_says_what_x86_64_says(capsys: pytest.CaptureFixture[str]) -> None:
    needs(qemu_aarch64_static="qemu-user-static")
    with mounted(image("arm64", DEMO)) as root:
        shutil.copy(str(shutil.which("qemu-aarch64-static")), root)
        # The decoder's process is started by the kernel, which has to know what runs ARM64
        # programs.
        emulate_arm64()
        os.mknod(root / "dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        ours = {
            "PYTHONPATH": "/var/task",
            "CLIP_BUNDLE": "/var/task/bundle",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "3008",
        }
        variables = ",".join(
            f"{name}={value}" for name, value in {**BASE["environment"], **ours}.items()
        )
        emulated = (
            "/qemu-aarch64-static",
            "-cpu",
            "neoverse-n1",
            "-E",
            variables,
            "/var/lang/bin/python3",
            "-c",
        )
        shutil.copytree(STEPS, root / "steps")
        shutil.copytree(BUNDLES, root / "towers")
        with processes(root):
            machine, arm = json.loads(run("chroot", root, *emulated, ANSWERS, input=events()))
            arm_embeddings = json.loads(run("chroot", root, *emulated, EMBEDDINGS, "/steps"))
            arm_towers = json.loads(run("chroot", root, *emulated, TOWERS, "/towers"))
    assert machine == {"machine": "aarch64", "python": "3.13", "sees_cpus": False}
    here = os.environ | {"PYTHONPATH": str(ROOT / "lambdas"), "CLIP_BUNDLE": str(DEMO)}
    machine, intel = json.loads(run(sys.executable, "-c", ANSWERS, input=events(), env=here))
    assert machine["machine"] == "x86_64"
    most = 0.0
    for labels, ours, theirs in zip(SAMPLES.values(), arm, intel, strict=True):
        assert (ours["statusCode"], theirs["statusCode"]) == (200, 200), ours
        result, expected = (json.loads(answer["body"])["result"] for answer in (ours, theirs))
        assert list(result) == list(expected) == labels
        most = max(
            most, float(np.abs(np.subtract(list(result.values()), list(expected.values()))).max())
        )
    with capsys.disabled():
        print(f"\nBetween Graviton2 and x86_64 no probability differs by more than {most:.1e}")
    assert most <= 1e-3
    least: dict[str, float] = {}
    for name, (expected, _) in json.loads(
        run(sys.executable, "-c", EMBEDDINGS, STEPS, env=here)
    ).items():
        rows, is_alone_the_same = arm_embeddings[name]
        assert is_alone_the_same, name
        least[name] = float((np.array(rows) * np.array(expected)).sum(1).min())
    with capsys.disabled():
        print(
            "Least cosines between both, on weights that are hard to quantise:"
            f" {', '.join(f'{k} {v:.6f}' for k, v in least.items())}"
        )
    assert len(least) == 14 and min(least.values()) > 0.9999
    intel_towers = json.loads(run(sys.executable, "-c", TOWERS, BUNDLES, env=here))
    assert len(intel_towers) == 3
    for name, (expected, _, answer) in intel_towers.items():
        rows, is_alone_the_same, arm_answer = arm_towers[name]
        assert is_alone_the_same, name
        assert (np.array(rows) * np.array(expected)).sum(1).min() > 0.9999, name
        assert arm_answer == pytest.approx(answer, abs=1e-3), name
