import base64
import http.client
import json
import logging
import socket
import threading
import time
from contextlib import closing
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest

from classifier.api.handler import Handler
from tests.support.images import encoded, soft_image
from tests.support.local import JSON, Recorder, ok, post
from tools.local.gateway import Limits
from tools.local.serve import Protocol, running


def test_a_request_is_answered_over_http(handler: Handler) -> None:
    body = json.dumps(
        {
            "image_data": base64.b64encode(encoded(soft_image(80, 60))).decode(),
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
        post(url + "v1/models/a%2Fb", None, {})
        post(url + "v1/models/a/b", None, {})
    first, binary, empty, parameter = recorder.events
    assert (parameter["resource"], parameter["path"]) == ("/v1/models/{id}", "/v1/models/a/b")
    assert parameter["pathParameters"] == {"id": "a%2Fb"}
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
        (Recorder(seconds=3), "", b"{}", 504, "out_of_time"),
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
    # A busy machine may take longer for an answer than the one that is to run out of time.
    with running(recorder, Limits(timeout=2 if recorder.seconds else 29)) as url:
        result, answer, headers = post(url + path, body)
        assert (result, answer["code"] if isinstance(answer, dict) else answer) == (status, code)
        assert ("Access-Control-Allow-Origin" in headers) == isinstance(answer, dict)
        time.sleep(recorder.seconds)
        recorder.answer = ok("{}")
        recorder.seconds = 0
        assert post(url, b"{}")[0] == 200
    assert (status < 500) == (len(recorder.events) == 1)


def test_the_path_may_be_a_whole_address_as_behind_a_proxy() -> None:
    recorder = Recorder()
    with (
        running(recorder) as url,
        closing(HTTPConnection(urlsplit(url).netloc, timeout=30)) as connection,
    ):
        for address in ("http://localhost/health?a=1", "http://localhost"):
            connection.request("GET", address)
            connection.getresponse().read()
    assert [event["path"] for event in recorder.events] == ["/health", "/"]


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
