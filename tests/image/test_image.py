import base64
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

from tests.support.container import PODMAN, composed, inside, invoke, running
from tests.support.emulator import free_port
from tests.support.heic_grid import grid_heic
from tests.support.image_store import image
from tests.support.machine import run
from tests.support.requests import DEMO, ROOT
from tools.local.demo import SAMPLES

# The true architecture with random weights, in 8 bits; make test-image makes it.
VIT_B_32 = ROOT / "build" / "ViT-B-32-random"


# What the sandbox refuses, each with the system's own words.
FORBIDDEN = """import multiprocessing, pathlib, socket
for attempt in (
    lambda: pathlib.Path("/var/task/x").touch(),
    lambda: pathlib.Path("/dev/shm/x").touch(),
    lambda: socket.create_connection(("192.0.2.1", 80), 3),
    lambda: multiprocessing.Lock(),
    lambda: pathlib.Path("/sys/devices/system/cpu/online").read_text(),
):
    try:
        attempt()
        print("done")
    except OSError as err:
        print(err.strerror)"""


# What a process of the same user learns of the function's own.
ENVIRONMENT = """import pathlib
for process in pathlib.Path("/proc").glob("[0-9]*"):
    line = (process / "cmdline").read_bytes()
    if b"bootstrap.py" in line and b"aws-lambda-rie" not in line:
        try:
            print((process / "environ").read_bytes())
        except OSError as err:
            print(err.strerror)"""


def event(image: Path, labels: list[str]) -> str:
    body = json.dumps(
        {"image_data": base64.b64encode(image.read_bytes()).decode(), "labels": labels}
    )
    return json.dumps(
        {
            "httpMethod": "POST",
            "resource": "/",
            "headers": {"Content-Type": "application/json"},
            "body": body,
        }
    )


def ask(container: str, image: Path, labels: list[str]) -> dict[str, float]:
    answer: dict[str, Any] = json.loads(invoke(container, event(image, labels)))
    assert answer.get("statusCode") == 200, answer
    assert re.fullmatch(r"[\d.]+\+[0-9a-f]{12}", answer["headers"]["X-Version"])
    result: dict[str, float] = json.loads(answer["body"])["result"]
    return result


@pytest.mark.parametrize("bundle", [DEMO, VIT_B_32], ids=lambda path: path.name)
def test_the_image_answers_in_a_sandbox_like_lambdas(bundle: Path) -> None:
    with running(image("x86_64", bundle)) as container:
        for name, labels in SAMPLES.items():
            result = ask(container, ROOT / "examples" / "images" / name, labels)
            assert list(result) == labels
            assert bundle != DEMO or max(result, key=result.__getitem__) == labels[0]
        # For a semaphore without /dev/shm AWS's older glibc says "Function not implemented".
        missing = "No such file or directory"
        assert inside(container, FORBIDDEN).splitlines() == [
            "Read-only file system",
            missing,
            "Network is unreachable",
            missing,
            missing,
        ]
        limit = (
            "cat /sys/fs/cgroup/memory.max 2>/dev/null || cat"
            " /sys/fs/cgroup/memory/memory.limit_in_bytes"
        )
        assert run(
            *PODMAN, "exec", container, "sh", "-c", f"id -u; ulimit -n; {limit}"
        ).split() == [
            "993",
            "1024",
            str(2 * 2**30),
        ]


def test_an_image_with_heic_sees_what_a_phone_takes_and_one_without_says_so(tmp_path: Path) -> None:
    name, labels = next(iter(SAMPLES.items()))
    plain = ROOT / "examples" / "images" / name
    photo = tmp_path / "photo.heic"
    with Image.open(plain) as opened:
        photo.write_bytes(grid_heic(opened.convert("RGB")))
    with running(image("x86_64", DEMO, heic=True)) as container:
        expected = ask(container, plain, labels)
        assert ask(container, photo, labels) == pytest.approx(expected, abs=0.05)
    with running(image("x86_64", DEMO)) as container:
        assert json.loads(invoke(container, event(photo, labels)))["statusCode"] == 415


def open_files(container: str) -> int:
    """How many the function's process has, as root sees it; no other process may look."""
    processes = run(*PODMAN, "top", container, "hpid", "args").splitlines()
    (process,) = (line.split()[0] for line in processes if "bootstrap.py" in line)
    return len(list(Path("/proc", process, "fd").iterdir()))


def test_every_request_is_one_line_of_json_in_the_log_and_leaves_no_descriptor_open() -> None:
    name, labels = next(iter(SAMPLES.items()))
    with running(image("x86_64", DEMO)) as container:
        ask(container, ROOT / "examples" / "images" / name, labels)
        before = open_files(container)
        for _ in range(10):
            ask(container, ROOT / "examples" / "images" / name, labels)
            invoke(container, json.dumps({"image_data": "", "labels": labels}))
        assert open_files(container) == before > 0
        assert inside(container, ENVIRONMENT) == "Permission denied"
        lines = [
            line
            for line in run(*PODMAN, "logs", container).splitlines()
            if '"message": "request"' in line
        ]
    requests = [json.loads(line) for line in lines]
    assert [request["status"] for request in requests] == [200] + [200, 400] * 10
    assert [request["start"] for request in requests] == ["cold"] + ["warm"] * 20
    assert all(request["level"] == "INFO" and request["requestId"] for request in requests)
    assert not [line for line in lines for label in labels if label in line]


def test_compose_serves_the_image_to_this_machine_alone() -> None:
    port = free_port()
    with composed(image("x86_64", DEMO), PORT=str(port), API_KEY="secret") as container:
        deadline = time.monotonic() + 180
        while True:
            try:
                requests.get(f"http://127.0.0.1:{port}/openapi.json", timeout=30).raise_for_status()
                break
            except requests.ConnectionError:
                assert time.monotonic() < deadline, run(*PODMAN, "logs", container)
                time.sleep(0.5)
        sent = (ROOT / "examples/images/dog.jpg").read_bytes()
        url = f"http://127.0.0.1:{port}/?labels=a+dog&labels=a+pizza"
        without, with_key = (
            requests.post(url, data=sent, headers={"Content-Type": "image/jpeg"} | key, timeout=60)
            for key in ({}, {"x-api-key": "secret"})
        )
        assert without.status_code == 403
        assert (with_key.status_code, list(with_key.json()["result"])) == (
            200,
            ["a dog", "a pizza"],
        ), with_key.text
        assert run(*PODMAN, "port", container) == f"8000/tcp -> 127.0.0.1:{port}"
        assert "Read-only file system" in run(
            *PODMAN, "exec", container, "bash", "-c", "touch /var/task/x 2>&1 || true"
        )
