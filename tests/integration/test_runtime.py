"""The handler in AWS's own runtime: awslambdaric under the Runtime Interface Emulator, which the wheel of aws-sam-cli carries."""

import base64
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.emulator import emulator_path, free_port
from tests.support.pictures import encoded, picture
from tests.support.requests import DEMO, ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the emulator runs on Linux alone")


@pytest.fixture(scope="session")
def emulator() -> Path:
    return emulator_path(platform.machine())


@contextmanager
def environment(emulator: Path, handler: str, timeout: int = 29, **variables: str) -> Iterator[Callable[[object], Any]]:
    """One execution environment; yields what invokes it. The emulator takes one call at a time."""
    front, runtime = free_port(), free_port()
    settings = {
        "AWS_LAMBDA_FUNCTION_TIMEOUT": str(timeout),
        "AWS_LAMBDA_FUNCTION_NAME": "clip",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "3008",
        "LAMBDA_TASK_ROOT": str(ROOT),
    }
    command = [str(emulator), "--runtime-interface-emulator-address", f"127.0.0.1:{front}", "--runtime-api-address", f"127.0.0.1:{runtime}",
               sys.executable, "-m", "awslambdaric", handler]  # fmt: skip
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | settings | variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{front}/2015-03-31/functions/function/invocations"

    def invoke(event: object) -> Any:
        try:
            with urllib.request.urlopen(url, json.dumps(event).encode(), timeout=60) as answer:
                text = answer.read().decode()
        except urllib.error.HTTPError as err:  # a failed start comes as a 502 with the error in its body
            text = err.read().decode()
        # The emulator's own errors are plain text.
        return json.loads(text) if text.startswith("{") else text

    try:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", front), 1).close()
                break
            except OSError:
                time.sleep(0.02)
        yield invoke
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def question(data: bytes, labels: list[str]) -> dict[str, Any]:
    body = json.dumps({"image_data": base64.b64encode(data).decode(), "labels": labels})
    return {
        "httpMethod": "POST",
        "resource": "/",
        "headers": {"content-type": "application/json"},
        "body": body,
        "isBase64Encoded": False,
    }


def test_the_handler_answers_and_refuses_in_the_real_runtime(emulator: Path) -> None:
    labels = ["a dog", "кошка"]
    with environment(emulator, "classifier.main.handler", CLIP_BUNDLE=str(DEMO), CORS_ORIGIN="https://example.org") as invoke:
        good = invoke(question(encoded(picture(80, 60)), labels))
        assert good["statusCode"] == 200
        assert list(json.loads(good["body"])["result"]) == labels
        assert good["headers"]["Access-Control-Allow-Origin"] == "https://example.org"
        bad = invoke(question(b"text", labels))
        assert (bad["statusCode"], json.loads(bad["body"])["code"]) == (415, "unsupported_media_type")
        assert invoke(question(encoded(picture(80, 60)), labels))["body"] == good["body"]


def test_the_runtime_reports_what_a_handler_raises_and_lives_on(emulator: Path) -> None:
    with environment(emulator, "tests.support.runtime_app.handler") as invoke:
        assert invoke({"fail": True})["errorMessage"] == "told to fail"
        assert invoke({})["left"] > 20_000


def test_the_runtime_ends_a_request_that_is_out_of_time(emulator: Path) -> None:
    with environment(emulator, "tests.support.runtime_app.handler", timeout=1) as invoke:
        began = time.monotonic()
        assert "timed out" in json.dumps(invoke({"sleep": 20})).lower()
        assert time.monotonic() - began < 10


def test_a_missing_bundle_fails_the_start_with_its_message(emulator: Path, tmp_path: Path) -> None:
    with environment(emulator, "classifier.main.handler", CLIP_BUNDLE=str(tmp_path)) as invoke:
        answer = invoke(question(b"", ["a"]))
        assert "bundle.json is missing" in json.dumps(answer)
