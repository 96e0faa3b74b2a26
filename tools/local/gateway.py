"""API Gateway and Lambda around a handler: events, limits and refusals of their own."""

import asyncio
import base64
import json
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from classifier.contract.routes import GUARDED, ROUTES
from stacks.api.gateway_responses import GATEWAY_RESPONSES
from tools.local.rest_event import Scope, event_of

# https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html:
# payload and time; https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html: 6 MB a
# synchronous event and answer.
MAX_PAYLOAD = 10 * 1024 * 1024
MAX_EVENT = 6 * 1024 * 1024
TIMEOUT_S = 29.0
PATHS = {route.path for route in ROUTES}
KEYED = {(route.method, route.path) for route in GUARDED}
# API Gateway's status on AWS if the stack doesn't set one.
UNAVAILABLE = 502
logger = logging.getLogger(__name__)
Handler = Callable[[dict[str, Any], Any], dict[str, Any]]
Response = tuple[int, list[tuple[bytes, bytes]], bytes]


@dataclass(frozen=True)
class Context:
    """The part of Lambda's context that the handler uses."""

    deadline: float
    aws_request_id: str

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self.deadline - time.monotonic()) * 1000))


@dataclass(frozen=True)
class Limits:
    """A deployment's limits on its callers. `throttle`: requests a second, and at once; `waits`:
    whether a request waits for the one environment, or is refused, as Lambda refuses it if none is
    free.
    """

    api_key: str | None = None
    throttle: tuple[float, float] | None = None
    waits: bool = True
    timeout: float = TIMEOUT_S


class Throttle:
    """A bucket of `burst` tokens that fills at `rate` a second."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at = time.monotonic()

    def admits(self) -> bool:
        now = time.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Gateway:
    """An ASGI application in front of one execution environment: a handler that serves one request
    after the other.
    """

    def __init__(self, handler: Handler, limits: Limits | None = None) -> None:
        self._handler = handler
        self._limits = limits or Limits()
        self._busy = threading.Lock()
        self._throttle = Throttle(*self._limits.throttle) if self._limits.throttle else None

    async def __call__(
        self,
        scope: Scope,
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        if scope["type"] != "http":
            return
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > MAX_PAYLOAD:
                return await _send(send, _refusal(scope, "REQUEST_TOO_LARGE"))
        await _send(send, await self._answer(scope, bytes(body)))

    async def _answer(self, scope: Scope, body: bytes) -> Response:
        # https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-known-issues.html:
        # these must come encoded.
        if set(b"|{}") & set(scope["query_string"]):
            return _plain_refusal(scope, 400, "Bad Request")
        event = event_of(scope, body)
        if event["resource"] not in PATHS:
            return _refusal(scope, "MISSING_AUTHENTICATION_TOKEN")
        keyed = (
            self._limits.api_key is not None and (event["httpMethod"], event["resource"]) in KEYED
        )
        if keyed and event["headers"].get("x-api-key") != self._limits.api_key:
            return _refusal(scope, "INVALID_API_KEY")
        if self._throttle and not self._throttle.admits():
            return _refusal(scope, "THROTTLED")
        if _size(event) > MAX_EVENT:
            return _plain_refusal(scope, 413, "Request Too Long")
        context = Context(
            time.monotonic() + self._limits.timeout, event["requestContext"]["requestId"]
        )
        # Not wait_for: a TimeoutError of the handler's own is a failure, not the gateway's timeout.
        task = asyncio.create_task(asyncio.to_thread(self._invoke, event, context))
        await asyncio.wait({task}, timeout=self._limits.timeout)
        if not task.done():
            task.cancel()
            return _refusal(scope, "INTEGRATION_TIMEOUT")
        try:
            return task.result() or _refusal(scope, "DEFAULT_5XX", 500)
        except Exception:
            logger.exception("the handler failed")
            return _refusal(scope, "DEFAULT_5XX")

    def _invoke(self, event: dict[str, Any], context: Context) -> Response | None:
        """None if no environment is free."""
        if not self._busy.acquire(blocking=self._limits.waits):
            return None
        try:
            answer = self._handler(event, context)
        finally:
            self._busy.release()
        if _size(answer) > MAX_EVENT:
            raise ValueError("the answer passes Lambda's 6 MB")
        return _response(answer)


def _size(payload: dict[str, Any]) -> int:
    """Bytes of an event or an answer between gateway and function: UTF-8, nothing escaped that
    needn't be.
    """
    return len(json.dumps(payload, ensure_ascii=False).encode("utf-8", "replace"))


def _refusal(scope: Scope, name: str, status: int | None = None) -> Response:
    usual, message, code = GATEWAY_RESPONSES[name]
    status = status or usual or UNAVAILABLE
    _log(scope, status, message or "")
    headers = {"Content-Type": "application/json", "Access-Control-Allow-Origin": "*"}
    return _response(
        {
            "statusCode": status,
            "headers": headers,
            "body": json.dumps({"message": message, "code": code}),
        }
    )


def _plain_refusal(scope: Scope, status: int, text: str) -> Response:
    """A refusal that no gateway response shapes: not JSON, and closed to browsers."""
    _log(scope, status, text)
    return _response(
        {"statusCode": status, "headers": {"Content-Type": "text/plain"}, "body": text}
    )


def _log(scope: Scope, status: int, message: str) -> None:
    """The handler logs what reaches it; this logs what doesn't."""
    logger.info(
        "refused",
        extra={
            "method": scope["method"],
            "path": scope["path"][:100],
            "status": status,
            "reason": message,
        },
    )


def _response(answer: dict[str, Any]) -> Response:
    """Raises for an answer that API Gateway would call malformed."""
    status = int(answer["statusCode"])
    text = answer.get("body") or ""
    body: bytes = (
        base64.b64decode(text, validate=True) if answer.get("isBase64Encoded") else text.encode()
    )
    headers = [
        (name.encode("latin-1"), str(value).encode("latin-1"))
        for name, value in (answer.get("headers") or {}).items()
    ]
    if status != 204:
        headers.append((b"content-length", str(len(body)).encode()))
    return status, headers, body


async def _send(send: Callable[[Any], Awaitable[None]], response: Response) -> None:
    status, headers, body = response
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
