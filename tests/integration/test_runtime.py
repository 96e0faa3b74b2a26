"""The handler in AWS's own runtime: awslambdaric under the Runtime Interface Emulator, which the
wheel of aws-sam-cli carries.
"""

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

from tests.support.emulator import LAMBDA, emulator_path, free_port
from tests.support.images import encoded, soft_image
from tests.support.requests import DEMO, ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the emulator runs on Linux alone")


@pytest.fixture(scope="session")
def emulator() -> Path:
    return emulator_path(platform.machine())


@contextmanager
def environment(
    emulator: Path, handler: str, timeout: int = 29, log: Path | None = None, **variables: str
) -> Iterator[Callable[[object], Any]]:
    """One execution environment; yields what invokes it with an object, or with bytes as they are.
    It takes one call at a time.
    """
    front = free_port()
    runtime = free_port()
    # The base image's bootstrap sets AWS_EXECUTION_ENV, and awslambdaric then writes answers and
    # logs without escapes.
    settings = LAMBDA | {
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
        "AWS_LAMBDA_FUNCTION_TIMEOUT": str(timeout),
        "LAMBDA_TASK_ROOT": str(ROOT),
    }
    command = [
        str(emulator),
        "--runtime-interface-emulator-address",
        f"127.0.0.1:{front}",
        "--runtime-api-address",
        f"127.0.0.1:{runtime}",
        sys.executable,
        "-m",
        "awslambdaric",
        handler,
    ]
    with open(log or os.devnull, "w") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | settings | variables,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{front}/2015-03-31/functions/function/invocations"

    def invoke(event: object) -> Any:
        try:
            data = event if isinstance(event, bytes) else json.dumps(event).encode()
            with urllib.request.urlopen(url, data, timeout=60) as answer:
                text = answer.read().decode()
        # A failed start comes as a 502 with the error in its body.
        except urllib.error.HTTPError as err:
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
    with environment(
        emulator,
        "classifier.main.handler",
        CLIP_BUNDLE=str(DEMO),
        CORS_ORIGIN="https://example.org",
    ) as invoke:
        good = invoke(question(encoded(soft_image(80, 60)), labels))
        assert good["statusCode"] == 200
        assert list(json.loads(good["body"])["result"]) == labels
        assert good["headers"]["Access-Control-Allow-Origin"] == "https://example.org"
        bad = invoke(question(b"text", labels))
        assert (bad["statusCode"], json.loads(bad["body"])["code"]) == (
            415,
            "unsupported_media_type",
        )
        assert invoke(question(encoded(soft_image(80, 60)), labels))["body"] == good["body"]


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


HALF = "\\ud83d"  # half of a surrogate pair, as JSON writes it: no encoding can hold it
IMAGE = base64.b64encode(encoded(soft_image(8, 8))).decode()
HTTP = (
    '{"httpMethod": "POST", "resource": "/", "headers": {"content-type": "application/json"},'
    ' "body": %s}'
)
# Each event with the status or the runtime's error that answers it.
ODD = {
    "null": ("null", 400),
    "an empty object": ("{}", 400),
    "a list": ("[]", 400),
    "a number": ("1", 400),
    "a string": ('"text"', 400),
    "not a number": ("NaN", "Runtime.UnmarshalError"),
    "half a character in a label": (
        f'{{"image_data": "{IMAGE}", "labels": ["{HALF}", "cat"]}}',
        None,
    ),
    "half a character in a field": (f'{{"{HALF}": "{HALF}"}}', 400),
    "half a character in a body": (HTTP % json.dumps(f'{{"{HALF}": "{HALF}"}}'), 400),
    "half a character in the event's body": (HTTP % f'"{HALF}"', 400),
    "half a character in a header": (
        (
            f'{{"httpMethod": "POST", "resource": "/", "headers": {{"{HALF}": "{HALF}"}}, "body":'
            f' "{HALF}"}}'
        ),
        None,
    ),
    "half a character in the path": (f'{{"httpMethod": "{HALF}", "path": "/{HALF}"}}', 404),
    "a method that is a number": ('{"httpMethod": 1}', 404),
    "a body that is a number": (HTTP % "5", 400),
    "headers that are a list": (
        '{"httpMethod": "POST", "resource": "/", "headers": [], "body": "{}"}',
        None,
    ),
    "a deep list": ("[" * 100_000 + "]" * 100_000, "Runtime.UnmarshalError"),
    "a long number": ("1" * 10_000, "Runtime.UnmarshalError"),
    "no JSON": ("{", "Runtime.UnmarshalError"),
}


def test_no_event_ends_the_runtime(emulator: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    good = question(encoded(soft_image(80, 60)), ["a dog", "кошка"])
    with environment(emulator, "classifier.main.handler", log=log, CLIP_BUNDLE=str(DEMO)) as invoke:
        expected = invoke(good)["body"]
        for name, (event, result) in ODD.items():
            answer = invoke(event.encode())
            if isinstance(result, str):
                assert answer["errorType"] == result, name
            else:
                assert result in (answer.get("statusCode"), None), f"{name}: {answer}"
                assert answer.get("statusCode", 200) < 500, f"{name}: {answer}"
            assert invoke(good)["body"] == expected, name
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    assert [line["start"] for line in lines if line.get("message") == "request"].count("cold") == 1


@pytest.mark.parametrize(("level", "logged"), [("", True), ("INFO", True), ("WARN", False)])
def test_requests_are_logged_down_to_the_functions_own_log_level(
    emulator: Path, tmp_path: Path, level: str, logged: bool
) -> None:
    log = tmp_path / "log"
    with environment(
        emulator,
        "classifier.main.handler",
        log=log,
        CLIP_BUNDLE=str(DEMO),
        AWS_LAMBDA_LOG_LEVEL=level,
    ) as invoke:
        assert (
            invoke(question(encoded(soft_image(80, 60)), ["a dog", "a cat"]))["statusCode"] == 200
        )
    assert ('"message": "request"' in log.read_text()) == logged
