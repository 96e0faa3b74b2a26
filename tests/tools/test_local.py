import base64
import http.client
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from classifier.api.handler import Handler
from tests.support.pictures import encoded, picture
from tests.support.requests import DEMO, ROOT
from tools.bundles import choose
from tools.local.demo import classify
from tools.local.gateway import Limits
from tools.local.serve import Protocol, running

JSON = {"Content-Type": "application/json"}


class Recorder:
    """Records its events, waits, and gives the answer or raises it."""

    def __init__(
        self, answer: dict[str, Any] | Exception | None = None, seconds: float = 0
    ) -> None:
        self.events: list[dict[str, Any]] = []
        self.answer = answer or ok("{}")
        self.seconds = seconds

    def __call__(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        self.events.append(event)
        time.sleep(self.seconds)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def ok(body: str) -> dict[str, Any]:
    return {"statusCode": 200, "headers": JSON, "body": body, "isBase64Encoded": False}


def post(
    url: str, body: bytes | None, headers: dict[str, str] = JSON, method: str | None = None
) -> tuple[int, Any, dict[str, str]]:
    """Status, JSON or text, and headers with names in title case. Without a body it is a GET."""
    method = method or ("GET" if body is None else "POST")
    response = requests.request(method, url, data=body, headers=headers, timeout=30)
    answer = response.json() if response.text.startswith("{") else response.text
    return (
        response.status_code,
        answer,
        {name.title(): value for name, value in response.headers.items()},
    )


def test_a_request_is_answered_over_http(handler: Handler) -> None:
    body = json.dumps(
        {
            "image_data": base64.b64encode(encoded(picture(80, 60))).decode(),
            "labels": ["собака", "cat"],
        }
    )
    with running(handler) as url:
        status, answer, headers = post(url, body.encode())
        assert (status, list(answer["result"])) == (200, ["собака", "cat"])
        assert {"X-Model", "Server-Timing", "Access-Control-Allow-Origin"} <= headers.keys()
        assert post(url, b"{}")[0] == 400
        status, _, headers = post(url, body.encode(), method="PUT")
        assert (status, "POST" in headers["Allow"]) == (405, True)
        assert post(url, body.encode(), {"Content-Type": ""})[0] == 200
        assert (
            post(url, body.encode(), {"Content-Type": "text/plain"})[1]["code"]
            == "unsupported_media_type"
        )


def test_http_becomes_a_rest_event() -> None:
    recorder = Recorder()
    with running(recorder) as url:
        post(url + "?labels=a+cat&labels=a%20dog&empty=", b'{"a": 1}', JSON | {"X-Odd": "1"})
        post(url, b"\xff\xd8", {"Content-Type": "image/jpeg"})
        post(url, None, {})
    first, binary, empty = recorder.events
    assert (first["httpMethod"], first["resource"], first["body"], first["isBase64Encoded"]) == (
        "POST",
        "/",
        '{"a": 1}',
        False,
    )
    assert first["multiValueQueryStringParameters"] == {"labels": ["a cat", "a dog"], "empty": [""]}
    assert first["queryStringParameters"] == {"labels": "a dog", "empty": ""}
    assert first["headers"]["x-odd"] == "1"
    assert (binary["body"], binary["isBase64Encoded"]) == (
        base64.b64encode(b"\xff\xd8").decode(),
        True,
    )
    assert (empty["httpMethod"], empty["body"], empty["multiValueQueryStringParameters"]) == (
        "GET",
        None,
        None,
    )


@pytest.mark.parametrize(
    ("recorder", "path", "body", "status", "code"),
    [
        (Recorder(), "nowhere", b"{}", 404, "not_found"),
        (Recorder(), "", b" " * (10 * 2**20 + 1), 413, "too_large"),
        (Recorder(), "", b" " * (6 * 2**20), 413, "Request Too Long"),
        (Recorder(seconds=0.5), "", b"{}", 504, "out_of_time"),
        (Recorder(RuntimeError("crash")), "", b"{}", 502, "unavailable"),
        (
            Recorder(TimeoutError("a service behind the handler was late")),
            "",
            b"{}",
            502,
            "unavailable",
        ),
        (Recorder({"body": "no status"}), "", b"{}", 502, "unavailable"),
        (Recorder(ok("x" * 6 * 2**20)), "", b"{}", 502, "unavailable"),
    ],
    ids=["path", "payload", "event", "time", "crash", "late", "malformed", "answer"],
)
def test_the_gateways_limits_and_errors_are_those_of_aws(
    recorder: Recorder, path: str, body: bytes, status: int, code: str
) -> None:
    with running(recorder, Limits(timeout=0.3)) as url:
        result, answer, headers = post(url + path, body)
        assert (result, answer["code"] if isinstance(answer, dict) else answer) == (status, code)
        assert ("Access-Control-Allow-Origin" in headers) == isinstance(answer, dict)
        time.sleep(recorder.seconds)
        recorder.answer = ok("{}")
        recorder.seconds = 0
        assert post(url, b"{}")[0] == 200
    assert (status < 500) == (len(recorder.events) == 1)


def test_a_query_with_unescaped_braces_is_refused_as_api_gateway_does() -> None:
    recorder = Recorder()
    with (
        running(recorder) as url,
        closing(HTTPConnection(urlsplit(url).netloc, timeout=30)) as connection,
    ):
        connection.request("POST", "/?templates={}", b"{}", JSON)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (400, b"Bad Request")
    assert recorder.events == []


def test_the_demo_shows_lambdas_message_for_an_image_over_six_megabytes(tmp_path: Path) -> None:
    picture = tmp_path / "large.jpg"
    picture.write_bytes(bytes(5 * 2**20))
    with (
        running(Recorder()) as url,
        pytest.raises(SystemExit, match=r"large\.jpg: Request Too Long"),
    ):
        classify(url, picture, ["a"])


def test_the_six_megabytes_count_text_in_utf_8() -> None:
    recorder = Recorder()
    with running(recorder) as url:
        assert post(url, "я".encode() * (3 * 2**20 - 2000))[0] == 200
        assert post(url, "я".encode() * (3 * 2**20))[0] == 413
    assert len(recorder.events) == 1


def test_a_post_without_the_required_key_never_reaches_the_handler() -> None:
    recorder = Recorder()
    with running(recorder, Limits(api_key="secret")) as url:
        for headers in (JSON, JSON | {"x-api-key": "guess"}):
            status, answer, _ = post(url, b"{}", headers)
            assert (status, answer["code"]) == (403, "forbidden")
        assert post(url, b"{}", JSON | {"X-Api-Key": "secret"})[0] == 200
        assert post(url, None)[0] == 200
    assert [event["httpMethod"] for event in recorder.events] == ["POST", "GET"]


def test_over_the_throttle_requests_are_refused_until_the_bucket_fills() -> None:
    recorder = Recorder()
    with running(recorder, Limits(throttle=(5, 2))) as url:
        assert [post(url, b"{}")[0] for _ in range(3)] == [200, 200, 429]
        time.sleep(0.25)
        assert post(url, b"{}")[0] == 200
        status, answer, _ = post(url, b"{}")
        assert (status, answer["code"]) == (429, "too_many_requests")


def test_a_request_is_refused_at_once_if_no_environment_is_free() -> None:
    recorder = Recorder(seconds=1)
    with running(recorder, Limits(waits=False)) as url:
        first = threading.Thread(target=post, args=(url, b"{}"))
        first.start()
        while not recorder.events:
            time.sleep(0.01)
        status, answer, _ = post(url, b"{}")
        assert (status, answer["code"], len(recorder.events)) == (500, "unavailable", 1)
        first.join()
        assert post(url, b"{}")[0] == 200


def test_one_request_at_a_time_reaches_the_handler() -> None:
    running_now = 0
    maximum = 0

    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
        nonlocal running_now, maximum
        running_now += 1
        maximum = max(maximum, running_now)
        time.sleep(0.02)
        running_now -= 1
        return {"statusCode": 200, "headers": JSON, "body": "{}"}

    with running(handler) as url:
        callers = [threading.Thread(target=post, args=(url, b"{}")) for _ in range(6)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    assert maximum == 1


def test_the_only_real_bundle_is_chosen_and_several_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert choose(None, tmp_path) == tmp_path / "demo"
    for name in ("demo", "one"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "bundle.json").touch()
    assert choose(None, tmp_path) == tmp_path / "one"
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "bundle.json").touch()
    with pytest.raises(SystemExit) as caught:
        choose(None, tmp_path)
    assert caught.value.code == 2
    assert f"BUNDLE={tmp_path / 'two'}" in capsys.readouterr().err
    assert choose(tmp_path / "two", tmp_path) == tmp_path / "two"


def test_bytes_that_are_no_utf_8_are_lost_without_a_binary_content_type() -> None:
    recorder = Recorder()
    sent = b"\xff\xd8\xff\xe0"
    with running(recorder) as url:
        connection = http.client.HTTPConnection(url.removeprefix("http://").rstrip("/"))
        connection.request("POST", "/", sent)
        connection.getresponse().read()
        connection.close()
        for kind in (
            "image/jpg",
            "image/heic",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=b",
        ):
            post(url, sent, {"Content-Type": kind})
    missing, *named = recorder.events
    assert (missing["body"], missing["isBase64Encoded"], "content-type" in missing["headers"]) == (
        "\ufffd" * 4,
        False,
        False,
    )
    assert {(event["body"], event["isBase64Encoded"]) for event in named} == {
        (base64.b64encode(sent).decode(), True)
    }


class Impatient(Protocol):
    receive_timeout_s = 0.3


@pytest.mark.parametrize(
    "start", [b"", b"POST / HTT", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n{"]
)
def test_a_connection_that_stalls_is_closed_and_others_are_served(start: bytes) -> None:
    with running(Recorder(seconds=0.5), protocol=Impatient) as url:
        host, port = url.removeprefix("http://").rstrip("/").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as stalled:
            stalled.sendall(start)
            # Half a second in the handler is no stall.
            assert post(url, b"{}")[0] == 200
            assert stalled.recv(100) == b""


def test_what_the_gateway_refuses_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with running(Recorder(), Limits(api_key="secret")) as url:
        post(url, b"{}")
        post(url + "nowhere", b"{}")
        post(url, b" " * (6 * 2**20), JSON | {"x-api-key": "secret"})
    lines = [
        (record.__dict__["path"], record.__dict__["status"])
        for record in caplog.records
        if record.message == "refused"
    ]
    assert lines == [("/", 403), ("/nowhere", 404), ("/", 413)]


def start_serving(*options: str) -> tuple[subprocess.Popen[str], str, list[str]]:
    """A server of its own, its URL and the lines that it printed."""
    command = [
        sys.executable,
        "-m",
        "tools.local.serve",
        "--bundle",
        str(DEMO),
        "--port",
        "0",
        *options,
    ]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": "lambdas"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    lines = [process.stdout.readline() for _ in range(5)]
    url = lines[0].split()[0]
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            socket.create_connection(
                ("127.0.0.1", int(url.rstrip("/").rpartition(":")[2])), 1
            ).close()
            break
        except OSError:
            time.sleep(0.05)
    return process, url, lines


@pytest.mark.parametrize("options", [[], ["--api-key", "my secret's"]], ids=["open", "keyed"])
def test_what_serve_says_to_try_works(options: list[str]) -> None:
    process, _, lines = start_serving(*options)
    with process:
        command = "".join(lines[3:])
        assert "base64" not in command
        answer = subprocess.run(
            ["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
        )
        assert list(json.loads(answer.stdout)["result"]) == ["a dog", "a cat"]
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 0


def test_the_first_call_that_the_guide_of_a_deployment_shows_works() -> None:
    guide = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    (command,) = (
        line for line in guide.splitlines() if line.startswith("curl ") and "$KEY" in line
    )
    process, url, _ = start_serving("--api-key", "secret")
    with process:
        variables = os.environ | {"URL": url, "KEY": "secret"}
        answer = subprocess.run(
            ["sh", "-c", command],
            cwd=ROOT,
            env=variables,
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        assert list(json.loads(answer.stdout)["result"]) == ["a dog", "a cat", "something else"]
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 0


def test_ctrl_c_ends_the_server_in_three_seconds_whatever_is_running() -> None:
    process, url, _ = start_serving()
    host, port = url.removeprefix("http://").rstrip("/").split(":")
    # 2,000 prompts take the demo model seconds.
    labels = [f"{i} " + "dog " * 60 for i in range(1000)]
    body = json.dumps(
        {"image_data": base64.b64encode(encoded(picture(8, 8))).decode(), "labels": labels}
    ).encode()
    with (
        process,
        socket.create_connection((host, int(port))) as busy,
        socket.create_connection((host, int(port))) as stalled,
    ):
        busy.sendall(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length:"
            b" %d\r\n\r\n" % len(body) + body
        )
        stalled.sendall(b"POST / HTT")
        time.sleep(0.5)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 0
        assert time.monotonic() - began < 3


def test_serve_prints_its_url_and_ends_on_ctrl_c() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = str(sock.getsockname()[1])
    command = [sys.executable, "-m", "tools.local.serve", "--bundle", str(DEMO), "--port"]
    environment = {"PYTHONPATH": "lambdas"}
    with subprocess.Popen(
        [*command, port], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        try:
            printed = [process.stdout.readline() for _ in range(5)]
            assert printed[0].startswith(f"http://127.0.0.1:{port}/ is a page")
            assert "nothing about photographs" in printed[1]
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                try:
                    assert post(f"http://127.0.0.1:{port}/", b"{}")[0] == 400
                    break
                except requests.ConnectionError:
                    time.sleep(0.05)
            taken = subprocess.run(
                [*command, port],
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert taken.returncode == 1
            assert "take another: make serve PORT=" in taken.stderr
        finally:
            process.send_signal(2)
        assert process.wait(timeout=10) == 0
