"""Our front's events against those of SAM's local API Gateway for the synthesized template, request by request."""

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
from tests.support.requests import ROOT
from tests.support.synthesis import synthesize
from tests.tools.test_local import Recorder
from tools.local.serve import running

SAM = ROOT / "build" / "sam" / "bin" / "python"
JSON = ("Content-Type", "application/json")
JPEG = ("Content-Type", "image/jpeg")
# What differs in every event, and why. Header names are compared in lower case: an HTTP/1.1 client's reach a function as it wrote
# them, an HTTP/2 client's in lower case as ours do, and WSGI, on which SAM stands, has lost how they were written.
APART = {
    "requestContext.requestId": "of its own",
    "requestContext.extendedRequestId": "of its own on AWS too; SAM has none",
    "requestContext.requestTime": "SAM's is the time at which it started",
    "requestContext.requestTimeEpoch": "SAM's is the time at which it started",
    "requestContext.apiId": "a name that says where it is from",
    "requestContext.resourceId": "a name that says where it is from",
    "requestContext.stage": "ours has no stage, and none in its URL",
    "requestContext.identity": "ours has the two fields that can be known here; SAM's user agent is a constant",
    "headers.x-forwarded-proto": "SAM adds it, as AWS does; nothing reads it",
    "headers.x-forwarded-port": "SAM adds it, as AWS does; nothing reads it",
}


@dataclass(frozen=True)
class Sent:
    """A request, and the fields in which SAM errs for it, with ours."""

    query: str = ""
    body: bytes | None = b"{}"
    headers: tuple[tuple[str, str], ...] = (JSON,)
    method: str = "POST"
    path: str = "/"
    apart: tuple[tuple[str, Any], ...] = ()


REQUESTS = {
    "json": Sent(),
    "unicode": Sent(body='{"labels": ["собака", "🐶"]}'.encode()),
    "no body": Sent(body=None),
    "empty body": Sent(body=b""),
    "no content type": Sent(headers=()),
    "form": Sent(body=b"a=1&b=2", headers=(("Content-Type", "application/x-www-form-urlencoded"),)),
    "repeated parameter": Sent(query="labels=a+cat&labels=a%20dog&top_k=1"),
    "empty parameter": Sent(query="labels=&templates"),
    "encoded parameter": Sent(query="labels=%D0%BA%D0%BE%D1%82&templates=a%20%7B%7D%26%3D%2B%25&%7B%7D=1&a=b=c"),
    "doubly encoded parameter": Sent(query="labels=%2520"),
    "not utf-8 parameter": Sent(
        query="labels=%FF",  # AWS promises something for UTF-8 alone; SAM leaves it encoded
        apart=(("multiValueQueryStringParameters", {"labels": ["\ufffd"]}), ("queryStringParameters", {"labels": "\ufffd"})),
    ),
    "parameters in disorder": Sent(query="b=1&a=2&b=3&&c"),
    "case of a parameter": Sent(query="Labels=a&labels=b"),
    "semicolon": Sent(
        query="labels=a;labels=b",
        apart=(
            ("multiValueQueryStringParameters", {"labels": ["a", "b"]}),  # AWS splits there
            ("queryStringParameters", {"labels": "b"}),
        ),
    ),
    "picture": Sent(body=b"\xff\xd8\xff\x00", headers=(JPEG,)),
    "empty picture": Sent(
        body=None, headers=(JPEG,), apart=(("isBase64Encoded", False),)  # nothing is encoded
    ),
    "octets": Sent(body=bytes(range(256)), headers=(("Content-Type", "application/octet-stream"),)),
    "picture with parameters": Sent(body=b"\xff", headers=(("Content-Type", "image/png; q=1"),)),
    "picture in capitals": Sent(body=b"\xff", headers=(("Content-Type", "Image/PNG"),)),
    "picture of another type": Sent(body=b"<svg/>", headers=(("Content-Type", "image/svg+xml"),)),
    "odd headers": Sent(headers=(JSON, ("x-odd", "a, b;c=\"d\""), ("X-ODDER", ""), ("X-Latin", "caf\xe9"))),
    "underscore in a header": Sent(
        headers=(JSON, ("x_under", "1")),
        apart=(("headers.x_under", "1"), ("multiValueHeaders.x_under", ["1"])),  # WSGI drops it
    ),
    "cookies": Sent(headers=(JSON, ("Cookie", "a=1; b=2"))),
    "repeated header": Sent(
        headers=(JSON, ("X-Twice", "1"), ("x-twice", "2")),
        apart=(("headers.x-twice", "2"), ("multiValueHeaders.x-twice", ["1", "2"])),  # WSGI joins them: "1,2"
    ),
    "visit": Sent(method="GET", body=None, headers=()),
    "description": Sent(method="GET", path="/openapi.json", body=None, headers=()),
    "encoded path": Sent(method="GET", path="/%6Fpenapi%2Ejson", body=None, headers=()),
}  # fmt: skip


def send(url: str, sent: Sent) -> int:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    connection.putrequest(sent.method, sent.path + ("?" + sent.query if sent.query else ""), True, True)
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
    """The event by dotted names, without what is APART."""
    flat: dict[str, Any] = {}
    for name, value in event.items():
        if name in ("requestContext", "headers", "multiValueHeaders"):
            flat |= {f"{name}.{key.lower() if 'eaders' in name else key}": one for key, one in value.items()}
        else:
            flat[name] = value
    return {name: value for name, value in flat.items() if name.replace("multiValueHeaders", "headers") not in APART}


@pytest.fixture(scope="module")
def sam(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Any]]:
    """SAM's URL, and what reads its next event."""
    assert SAM.exists(), "SAM's environment is missing; make it with: make test-sam"
    template, port = synthesize(tmp_path_factory.mktemp("cdk"), playground=True), free_port()
    command = [str(SAM), str(Path(__file__).with_name("sam_gateway.py")), str(template), str(port)]
    with subprocess.Popen(command, env={"SAM_CLI_TELEMETRY": "0"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        url, deadline = f"http://127.0.0.1:{port}/", time.monotonic() + 60
        while True:
            try:
                send(url, Sent())
                break
            except OSError:
                assert process.poll() is None, process.communicate()[1].decode()
                assert time.monotonic() < deadline
                time.sleep(0.1)
        process.stdout.readline()
        yield url, process.stdout.readline
        process.kill()


@pytest.mark.parametrize("name", REQUESTS)
def test_our_events_are_sam_s_but_where_aws_differs(name: str, sam: tuple[str, Any]) -> None:
    sent, recorder = REQUESTS[name], Recorder()
    with running(recorder) as url:
        assert send(url, sent) == 200
    assert send(sam[0], sent) == 200
    (event,), theirs = recorder.events, plain(json.loads(sam[1]()))
    ours = plain(event)
    for field, value in sent.apart:
        assert ours.pop(field) == value
        assert theirs.pop(field, None) != value, f"SAM agrees by now on {field}"
    assert ours == theirs
