"""Compares the local server's events with those of SAM's local API Gateway for the synthesized
template.
"""

import http.client
import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.emulator import free_port
from tests.support.local import Recorder
from tests.support.requests import ROOT
from tests.support.synthesis import synthesize
from tools.local.serve import running

SAM = ROOT / "build" / "sam" / "bin" / "python"
JSON = ("Content-Type", "application/json")
JPEG = ("Content-Type", "image/jpeg")
# Fields that differ in every event, and why. Header names are compared in lower case: those of an
# HTTP/1.1 client reach a function as written, those of an HTTP/2 client in lower case like ours,
# and WSGI, which SAM builds on, doesn't keep the case.
DIFFERENT_FIELDS = {
    "requestContext.requestId": "each makes its own",
    "requestContext.extendedRequestId": "made by each, on AWS too; SAM has none",
    "requestContext.requestTime": "SAM's is the time at which it started",
    "requestContext.requestTimeEpoch": "SAM's is the time at which it started",
    "requestContext.apiId": "names the local server",
    "requestContext.resourceId": "names the local server",
    "requestContext.stage": "the local server has no stage, and none in its URL",
    "requestContext.identity": (
        "the local server has the two fields that it knows; SAM's user agent is a constant"
    ),
    "headers.x-forwarded-proto": "SAM adds it, as AWS does; nothing reads it",
    "headers.x-forwarded-port": "SAM adds it, as AWS does; nothing reads it",
}


@dataclass(frozen=True)
class SentRequest:
    """A request, and the fields in which SAM differs from AWS for it, with the local server's
    values.
    """

    query: str = ""
    body: bytes | None = b"{}"
    headers: tuple[tuple[str, str], ...] = (JSON,)
    method: str = "POST"
    path: str = "/"
    differences: tuple[tuple[str, Any], ...] = ()


REQUESTS = {
    "json": SentRequest(),
    "unicode": SentRequest(body='{"labels": ["собака", "🐶"]}'.encode()),
    "no body": SentRequest(body=None),
    "empty body": SentRequest(body=b""),
    "no content type": SentRequest(headers=()),
    "form": SentRequest(
        body=b"a=1&b=2", headers=(("Content-Type", "application/x-www-form-urlencoded"),)
    ),
    "form with a file": SentRequest(
        body=b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        b"\xff\r\n--b--",
        headers=(("Content-Type", "multipart/form-data; boundary=b"),),
    ),
    "repeated parameter": SentRequest(query="labels=a+cat&labels=a%20dog&top_k=1"),
    "empty parameter": SentRequest(query="labels=&templates"),
    "encoded parameter": SentRequest(
        query="labels=%D0%BA%D0%BE%D1%82&templates=a%20%7B%7D%26%3D%2B%25&%7B%7D=1&a=b=c"
    ),
    "doubly encoded parameter": SentRequest(query="labels=%2520"),
    "not utf-8 parameter": SentRequest(
        query="labels=%FF",  # AWS documents UTF-8 only; SAM leaves it encoded
        differences=(
            ("multiValueQueryStringParameters", {"labels": ["\ufffd"]}),
            ("queryStringParameters", {"labels": "\ufffd"}),
        ),
    ),
    "parameters in disorder": SentRequest(query="b=1&a=2&b=3&&c"),
    "case of a parameter": SentRequest(query="Labels=a&labels=b"),
    "semicolon": SentRequest(
        query="labels=a;labels=b",
        differences=(
            ("multiValueQueryStringParameters", {"labels": ["a", "b"]}),  # AWS splits there
            ("queryStringParameters", {"labels": "b"}),
        ),
    ),
    "image": SentRequest(body=b"\xff\xd8\xff\x00", headers=(JPEG,)),
    "empty image": SentRequest(
        body=None,
        headers=(JPEG,),
        differences=(("isBase64Encoded", False),),  # nothing is encoded
    ),
    "octets": SentRequest(
        body=bytes(range(256)), headers=(("Content-Type", "application/octet-stream"),)
    ),
    "image with parameters": SentRequest(
        body=b"\xff", headers=(("Content-Type", "image/png; q=1"),)
    ),
    "image in capitals": SentRequest(body=b"\xff", headers=(("Content-Type", "Image/PNG"),)),
    "image of another type": SentRequest(
        body=b"<svg/>", headers=(("Content-Type", "image/svg+xml"),)
    ),
    "odd headers": SentRequest(
        headers=(JSON, ("x-odd", 'a, b;c="d"'), ("X-ODDER", ""), ("X-Latin", "caf\xe9"))
    ),
    "underscore in a header": SentRequest(
        headers=(JSON, ("x_under", "1")),
        # WSGI drops it.
        differences=(("headers.x_under", "1"), ("multiValueHeaders.x_under", ["1"])),
    ),
    "cookies": SentRequest(headers=(JSON, ("Cookie", "a=1; b=2"))),
    "repeated header": SentRequest(
        headers=(JSON, ("X-Twice", "1"), ("x-twice", "2")),
        # WSGI joins them: "1,2".
        differences=(("headers.x-twice", "2"), ("multiValueHeaders.x-twice", ["1", "2"])),
    ),
    "visit": SentRequest(method="GET", body=None, headers=()),
    "description": SentRequest(method="GET", path="/openapi.json", body=None, headers=()),
    "path with a parameter": SentRequest(
        method="GET",
        path="/v1/models/demo",
        body=None,
        headers=(),
        differences=(("requestContext.path", "/v1/models/demo"),),
    ),
    "health": SentRequest(method="GET", path="/health", body=None, headers=()),
    "encoded path": SentRequest(method="GET", path="/%6Fpenapi%2Ejson", body=None, headers=()),
}


def send(url: str, sent: SentRequest) -> int:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    connection.putrequest(
        sent.method, sent.path + ("?" + sent.query if sent.query else ""), True, True
    )
    for name, value in (("Host", "api.example.org"), ("User-Agent", "test"), *sent.headers):
        connection.putheader(name, value.encode("latin-1"))
    if sent.body is not None:
        connection.putheader("Content-Length", str(len(sent.body)))
    connection.endheaders(sent.body)
    with connection.getresponse() as answer:
        answer.read()
    connection.close()
    return answer.status


def plain(event: dict[str, Any]) -> dict[str, Any]:
    """The event by dotted names, without DIFFERENT_FIELDS."""
    flat: dict[str, Any] = {}
    for name, value in event.items():
        if name in ("requestContext", "headers", "multiValueHeaders"):
            flat |= {
                f"{name}.{key.lower() if 'eaders' in name else key}": item
                for key, item in value.items()
            }
        else:
            flat[name] = value
    return {
        name: value
        for name, value in flat.items()
        if name.replace("multiValueHeaders", "headers") not in DIFFERENT_FIELDS
    }


@pytest.fixture(scope="module")
def sam(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Any]]:
    """SAM's URL, and a function that reads its next event."""
    assert SAM.exists(), "SAM's environment is missing; make it with: make test-sam"
    template = synthesize(tmp_path_factory.mktemp("cdk"), playground=True)
    port = free_port()
    command = [str(SAM), str(Path(__file__).with_name("sam_gateway.py")), str(template), str(port)]
    with subprocess.Popen(
        command, env={"SAM_CLI_TELEMETRY": "0"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        url = f"http://127.0.0.1:{port}/"
        deadline = time.monotonic() + 60
        while True:
            try:
                send(url, SentRequest())
                break
            except OSError:
                assert process.poll() is None, process.communicate()[1].decode()
                assert time.monotonic() < deadline
                time.sleep(0.1)
        process.stdout.readline()
        yield url, process.stdout.readline
        process.kill()


@pytest.mark.parametrize("name", REQUESTS)
def test_events_equal_those_of_sam_unless_aws_differs(name: str, sam: tuple[str, Any]) -> None:
    sent = REQUESTS[name]
    recorder = Recorder()
    with running(recorder) as url:
        assert send(url, sent) == 200
    assert send(sam[0], sent) == 200
    (event,) = recorder.events
    expected = plain(json.loads(sam[1]()))
    actual = plain(event)
    for field, value in sent.differences:
        assert actual.pop(field) == value
        assert expected.pop(field, None) != value, (
            f"SAM agrees on {field} by now: remove it from the differences"
        )
    assert actual == expected
