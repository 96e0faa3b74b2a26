"""The image as it is deployed: built by the real Dockerfile, run under Lambda's conditions, looked into, weighed."""

import base64
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.container import BUILDAH, PODMAN, image, mounted, needs, run
from tests.support.requests import DEMO, ROOT
from tools.local.demo import SAMPLES

# The true architecture with random weights, in 8 bits; make test-image makes it.
VIT_B_32 = ROOT / "build" / "ViT-B-32-random"
AARCH64 = 183  # e_machine in the ELF header
MB = 1_000_000
# There is no network to come in by: the caller runs inside.
CALL = """import sys, urllib.request
url = "http://127.0.0.1:8080/2015-03-31/functions/function/invocations"
print(urllib.request.urlopen(url, sys.stdin.buffer.read(), timeout=120).read().decode())"""
FORBIDDEN = """import pathlib, socket
for attempt in (lambda: pathlib.Path("/var/task/x").touch(), lambda: socket.create_connection(("192.0.2.1", 80), 3)):
    try:
        attempt()
        print("done")
    except OSError as err:
        print(err.strerror)"""


@contextmanager
def running(name: str) -> Iterator[str]:
    """A container as Lambda runs it: read-only but for /tmp, as a user without rights, with 2 GB of memory; and no network."""
    needs(podman="podman", runc="runc")
    container = f"classifier-{uuid.uuid4()}"
    run(*PODMAN, "run", "--detach", "--name", container, "--read-only", "--tmpfs", "/tmp", "--user", "993:990", "--memory", "2g",
        "--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024",
        "--env", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=2048", "--env", "AWS_LAMBDA_FUNCTION_TIMEOUT=60", name)  # fmt: skip
    try:
        yield container
    finally:
        run(*PODMAN, "rm", "--force", "--time", "0", container)


def ask(container: str, picture: Path, labels: list[str]) -> dict[str, float]:
    body = json.dumps({"image_data": base64.b64encode(picture.read_bytes()).decode(), "labels": labels})
    event = {"httpMethod": "POST", "resource": "/", "headers": {"Content-Type": "application/json"}, "body": body}
    answer: dict[str, Any] = json.loads(run(*PODMAN, "exec", "-i", container, "python3", "-c", CALL, input=json.dumps(event)))
    assert answer.get("statusCode") == 200, answer
    result: dict[str, float] = json.loads(answer["body"])["result"]
    return result


@pytest.mark.parametrize("bundle", [DEMO, VIT_B_32], ids=lambda path: path.name)
def test_the_image_answers_read_only_as_any_user_in_2_gb_without_network(bundle: Path) -> None:
    with running(image("x86_64", bundle)) as container:
        for name, labels in SAMPLES.items():
            result = ask(container, ROOT / "examples" / "images" / name, labels)
            assert list(result) == labels
            assert bundle != DEMO or max(result, key=result.__getitem__) == labels[0]
        denied = run(*PODMAN, "exec", container, "python3", "-c", FORBIDDEN).splitlines()
        assert denied == ["Read-only file system", "Network is unreachable"]
        limit = "cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes"
        assert run(*PODMAN, "exec", container, "sh", "-c", f"id -u; {limit}").split() == ["993", str(2 * 2**30)]


def test_our_layers_are_light_and_what_changes_most_comes_last(capsys: pytest.CaptureFixture[str]) -> None:
    history = json.loads(run(*PODMAN, "history", "--format", "json", image("x86_64", VIT_B_32)))
    sizes = [layer["size"] for layer in history if "COPY" in layer["CreatedBy"]]
    weights = dict(zip(("package", "bundle", "requirements"), sizes, strict=True))
    with capsys.disabled():
        print("\nLayers on top of AWS's base:", ", ".join(f"{name} {size / MB:.1f} MB" for name, size in weights.items()))
    assert weights["package"] < 1 * MB
    assert weights["requirements"] <= 200 * MB
    assert sum(sizes) <= 450 * MB


def files(task: Path) -> set[str]:
    return {path.relative_to(task).as_posix() for path in task.rglob("*") if path.is_file()}


def test_the_image_holds_the_package_compiled_its_requirements_and_one_bundle() -> None:
    with mounted(image("x86_64", DEMO)) as root:
        task = root / "var/task"
        held = files(task)
        tops = {name.partition("/")[0] for name in held}
        assert {name for name in held if name.startswith("bundle/")} == {
            f"bundle/{name}" for name in ("bundle.json", "image.onnx", "text.onnx", "tokenizer.json")
        }
        assert {Path(name).suffix for name in held if name.startswith("classifier/")} <= {".py", ".pyc", ".html", ".json"}
        assert not tops & {"torch", "open_clip", "onnx", "pip", "awslambdaric"}
        assert not [name for name in held if "/tests/" in name]
        compiled = {name.replace("__pycache__/", "").replace(".cpython-313.pyc", ".py") for name in held if name.endswith(".pyc")}
        assert compiled == {name for name in held if name.endswith(".py")}
        for cache in task.rglob("*.pyc"):
            assert cache.read_bytes()[4:8] == (1).to_bytes(4, "little"), f"{cache} is checked against times or sources"
        assert not (root / "made").exists()


def test_for_arm64_every_shared_object_is_aarch64_and_nothing_else_differs() -> None:
    name = image("arm64", DEMO)
    assert json.loads(run(*BUILDAH, "inspect", "--type", "image", name))["OCIv1"]["architecture"] == "arm64"
    with mounted(name) as root, mounted(image("x86_64", DEMO)) as intel:
        task = root / "var/task"
        objects = {path: path.read_bytes()[:20] for path in task.rglob("*") if path.is_file() and ".so" in path.name}
        assert len(objects) > 50
        for path, header in objects.items():
            assert header[:4] == b"\x7fELF" and int.from_bytes(header[18:20], "little") == AARCH64, path
        assert not [path for path in task.rglob("*.so*") if path not in objects]
        sources = {name for name in files(task) if name.endswith((".py", ".onnx", ".json"))}
        assert sources == {name for name in files(intel / "var/task") if name.endswith((".py", ".onnx", ".json"))}
