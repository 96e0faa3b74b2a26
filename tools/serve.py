"""The API on this machine: HTTP to REST (v1) events for the same handler, with API Gateway's limits and error shapes."""

import argparse
import asyncio
import base64
import json
import logging
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

import uvicorn

from classifier.clip import BundleError, read_settings
from classifier.main import build

# https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html: payload and time;
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html: 6 MB a synchronous event and answer.
MOST_PAYLOAD = 10 * 1024 * 1024
MOST_EVENT = 6 * 1024 * 1024
TIMEOUT_S = 29.0
BINARY = {f"image/{kind}" for kind in ("jpeg", "png", "webp", "gif", "bmp", "avif")} | {"application/octet-stream"}
MODELS = Path("models")
ONLY_DRAWINGS = "This is the demo model, trained on drawings: it says nothing about photographs."
Handler = Callable[[dict[str, Any], Any], dict[str, Any]]
Response = tuple[int, list[tuple[bytes, bytes]], bytes]


@dataclass(frozen=True)
class Context:
    """What the handler uses of Lambda's context."""

    deadline: float
    aws_request_id: str

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self.deadline - time.monotonic()) * 1000))


class Gateway:
    """An ASGI application in front of one execution environment: a handler that serves one request after the other."""

    def __init__(self, handler: Handler, *, timeout: float = TIMEOUT_S) -> None:
        self._handler, self._timeout, self._busy = handler, timeout, threading.Lock()

    async def __call__(
        self, scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message.get("body", b""), message.get("more_body", False)
            if len(body) > MOST_PAYLOAD:
                return await _send(send, _refusal(413, "Request Too Long"))
        deadline = time.monotonic() + self._timeout
        event = event_of(scope, body)
        if len(json.dumps(event)) > MOST_EVENT:
            return await _send(send, _refusal(413, "Request Too Long"))
        context = Context(deadline, event["requestContext"]["requestId"])
        # Not wait_for: a TimeoutError of the handler's own is a failure, not the gateway's patience.
        task = asyncio.create_task(asyncio.to_thread(self._invoke, event, context))
        await asyncio.wait({task}, timeout=self._timeout)
        if not task.done():
            task.cancel()
            return await _send(send, _refusal(504, "Endpoint request timed out"))
        try:
            response = task.result()
        except Exception:
            logging.getLogger(__name__).exception("the handler failed")
            response = _refusal(502, "Internal server error")
        await _send(send, response)

    def _invoke(self, event: dict[str, Any], context: Context) -> Response:
        with self._busy:
            answer = self._handler(event, context)
        if len(json.dumps(answer)) > MOST_EVENT:
            raise ValueError("the answer passes Lambda's 6 MB")
        return _response(answer)


def event_of(scope: dict[str, Any], body: bytes) -> dict[str, Any]:
    """The REST (v1) event of an ASGI request; a missing content type counts as JSON, and only BINARY comes in base64."""
    headers: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    query: dict[str, list[str]] = {}
    for key, value in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True):
        query.setdefault(key, []).append(value)
    path, identity, now = unquote(scope["raw_path"].decode("latin-1")), str(uuid.uuid4()), time.time()
    kind = headers.get("content-type", ["application/json"])[-1].partition(";")[0].strip().lower()
    binary = kind in BINARY
    return {
        "resource": path,
        "path": path,
        "httpMethod": scope["method"],
        "headers": {name: values[-1] for name, values in headers.items()} or None,
        "multiValueHeaders": headers or None,
        "queryStringParameters": {name: values[-1] for name, values in query.items()} or None,
        "multiValueQueryStringParameters": query or None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "local",
            "domainName": headers.get("host", ["localhost"])[-1],
            "extendedRequestId": identity,
            "requestTime": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now)),
            "requestTimeEpoch": int(now * 1000),
            "resourceId": "local",
            "resourcePath": path,
            "httpMethod": scope["method"],
            "path": path,
            "stage": "local",
            "requestId": identity,
            "protocol": f"HTTP/{scope['http_version']}",
            "identity": {
                "sourceIp": (scope.get("client") or ["127.0.0.1"])[0],
                "userAgent": headers.get("user-agent", [""])[-1],
            },
        },
        "body": (base64.b64encode(body).decode() if binary else body.decode("utf-8", "replace")) if body else None,
        "isBase64Encoded": binary and bool(body),
    }


def _refusal(status: int, message: str) -> Response:
    """One of API Gateway's own errors."""
    return _response(
        {"statusCode": status, "headers": {"Content-Type": "application/json"}, "body": json.dumps({"message": message})}
    )


def _response(answer: dict[str, Any]) -> Response:
    """Raises for an answer that API Gateway would call malformed."""
    status, text = int(answer["statusCode"]), answer.get("body") or ""
    body: bytes = base64.b64decode(text, validate=True) if answer.get("isBase64Encoded") else text.encode()
    headers = [(name.encode("latin-1"), str(value).encode("latin-1")) for name, value in (answer.get("headers") or {}).items()]
    if status != 204:
        headers.append((b"content-length", str(len(body)).encode()))
    return status, headers, body


async def _send(send: Callable[[Any], Awaitable[None]], response: Response) -> None:
    status, headers, body = response
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def listener(port: int) -> socket.socket:
    """A socket on the loopback interface; port 0 takes a free one."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    return sock


def server(app: Gateway) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(app, log_level="warning", lifespan="off", server_header=False, timeout_graceful_shutdown=2)
    )


@contextmanager
def running(handler: Handler, *, timeout: float = TIMEOUT_S) -> Iterator[str]:
    """The API on a free loopback port while the block runs; its URL."""
    sock, runner = listener(0), server(Gateway(handler, timeout=timeout))
    thread = threading.Thread(target=runner.run, kwargs={"sockets": [sock]})
    thread.start()
    try:
        while not runner.started and thread.is_alive():
            time.sleep(0.01)
        yield f"http://127.0.0.1:{sock.getsockname()[1]}/"
    finally:
        runner.should_exit = True
        thread.join()
        sock.close()


def choose(models: Path, asked: Path | None) -> Path:
    """The bundle that was asked for, else the only real one, else the demo. Exits where there are several."""
    if asked:
        return asked
    real = sorted(path.parent for path in models.glob("*/bundle.json") if path.parent.name != "demo")
    if len(real) > 1:
        names = "".join(f"\n  BUNDLE={path}" for path in real)
        print(f"There are several bundles; name one:{names}", file=sys.stderr)
        raise SystemExit(2)
    return real[0] if real else models / "demo"


def load(bundle: Path) -> Handler:
    """The handler on a bundle whose hashes hold. Exits with what is wrong with it."""
    try:
        return build(bundle, threads=os.cpu_count() or 1, hashes=True)
    except BundleError as err:
        sys.exit(str(err))
    except OSError as err:
        sys.exit(f"{bundle} is no bundle's folder: {err.strerror}")


class Lines(logging.Formatter):
    """The request line with what `extra` brought."""

    KNOWN = frozenset((*logging.LogRecord("", 0, "", 0, "", None, None).__dict__, "message", "asctime", "taskName"))

    def format(self, record: logging.LogRecord) -> str:
        extra = {key: value for key, value in record.__dict__.items() if key not in self.KNOWN}
        return super().format(record) + "".join(f" {key}={value}" for key, value in extra.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--bundle", type=Path)
    asked = parser.parse_args()
    handling = logging.StreamHandler()
    handling.setFormatter(Lines("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[handling])
    bundle = choose(MODELS, asked.bundle)
    try:
        sock = listener(asked.port)
    except (OSError, OverflowError) as err:
        sys.exit(f"Port {asked.port} can't be used ({err}); take another: make serve PORT={8001 if asked.port == 8000 else 8000}")
    handler = load(bundle)
    name = read_settings(bundle, hashes=False).name
    url = f"http://127.0.0.1:{sock.getsockname()[1]}/"
    print(f"{name} answers at {url} (Ctrl-C ends it)\n{ONLY_DRAWINGS if name == 'demo' else ''}\nTry it:")
    print('  echo "{\\"image_data\\": \\"$(base64 -w0 examples/images/dog.jpg)\\", \\"labels\\": [\\"a dog\\", \\"a cat\\"]}" |')
    print(f'    curl {url} -H "Content-Type: application/json" -d @-', flush=True)
    with suppress(KeyboardInterrupt):
        server(Gateway(handler)).run(sockets=[sock])
    print("Ended.")


if __name__ == "__main__":
    main()
