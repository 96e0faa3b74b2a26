"""HTTP, and nothing else: API Gateway REST (v1) events to answers."""

import json
import logging
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from classifier.classify import Classifier
from classifier.clip import Clip
from classifier.errors import ClientError, shown
from classifier.parsing import is_zero_shot, read_json, read_query, read_request
from classifier.schema import IMAGE_TYPES, Classify

# What is left of the time must do for scoring, the answer and one more run of images or round of prompts.
RESERVE_MS = 1500
RETRY_AFTER_S = 1
Event = dict[str, Any]
Answer = dict[str, Any]
logger = logging.getLogger(__name__)


class Context(Protocol):
    """What is used of Lambda's context object."""

    def get_remaining_time_in_millis(self) -> int: ...


class Request:
    """One event on its way: its stage times in milliseconds and what the log line will say."""

    def __init__(self, event: Event, context: Context) -> None:
        self.event, self.context = event, context
        self.headers = {str(k).lower(): str(v) for k, v in (event.get("headers") or {}).items()}
        self.stages = dict.fromkeys(("decode", "image", "text"), 0.0)
        self.log: dict[str, object] = {}
        self.zero_shot = False

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.stages[name] += (time.perf_counter() - began) * 1000

    def in_time(self) -> bool:
        return self.context.get_remaining_time_in_millis() > RESERVE_MS

    def asked(self) -> Classify:
        """What the body and the query ask. Raises ClientError."""
        kind = self.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        query = self.event.get("multiValueQueryStringParameters") or {}
        body = self.event.get("body") or ""
        if self.event.get("isBase64Encoded"):
            body = b64decode(body)
        if kind in IMAGE_TYPES:
            return read_query(query, body if isinstance(body, bytes) else body.encode())
        if kind != "application/json":
            hint = 'for JSON add -H "Content-Type: application/json", for a picture -H "Content-Type: image/jpeg"'
            raise ClientError(415, "unsupported_media_type", f"The content type {shown(kind)} is not taken; {hint}.")
        if query:
            name = shown(str(next(iter(query))))
            raise ClientError(
                400, "invalid_request", f"The query parameter {name} stands beside a JSON body; put all in the body."
            )
        value = read_json(body)
        self.zero_shot = is_zero_shot(value)
        return read_request(value)


class Handler:
    """Answers events; whatever one does, the next is served."""

    def __init__(self, clip: Clip, *, cors_origin: str = "*") -> None:
        self._classifier, self._cold = Classifier(clip), True
        self._headers = {
            "Access-Control-Allow-Origin": cors_origin,
            "Access-Control-Expose-Headers": "Server-Timing, X-Model",
            "X-Model": clip.settings.name,
        }
        self._routes: dict[tuple[str, str], Callable[[Request], Answer]] = {
            ("POST", "/"): self._classify,
            ("OPTIONS", "/"): self._preflight,
            ("GET", "/"): lambda _: _file("playground.html", "text/html; charset=utf-8"),
            ("GET", "/openapi.json"): lambda _: _file("openapi.json", "application/json"),
        }

    def __call__(self, event: Event, context: Context) -> Answer:
        began, request = time.perf_counter(), Request(event, context)
        try:
            answer = self._route(request)
        except ClientError as err:
            answer = self._refusal(err, request)
        except Exception:
            logger.exception("internal error")
            answer = self._refusal(ClientError(500, "internal_error", "Internal error, nothing you did."), request)
        timing = ", ".join(f"{name};dur={spent:.1f}" for name, spent in request.stages.items())
        answer["headers"] = {**self._headers, "Server-Timing": timing, **answer["headers"]}
        stages = {f"{name}_ms": round(spent, 1) for name, spent in request.stages.items()}
        total = round((time.perf_counter() - began) * 1000, 1)
        start = "cold" if self._cold else "warm"
        logger.info("request", extra={"status": answer["statusCode"], "start": start, "total_ms": total, **stages, **request.log})
        self._cold = False
        return answer

    def _route(self, request: Request) -> Answer:
        method, path = str(request.event.get("httpMethod")), str(request.event.get("resource"))
        route = self._routes.get((method, path))
        if route:
            return route(request)
        allowed = ", ".join(m for m, p in self._routes if p == path)
        if not allowed:
            raise ClientError(404, "not_found", "There is nothing at this path; POST to /.")
        answer = self._refusal(ClientError(405, "not_found", f"This method is not taken here; use {allowed}."), request)
        answer["headers"]["Allow"] = allowed
        return answer

    def _classify(self, request: Request) -> Answer:
        answer = self._classifier.answer(request.asked(), request)
        if not request.zero_shot:
            return _answer(200, answer)
        ranked = sorted(answer["result"].items(), key=lambda pair: -pair[1])
        return _answer(200, [{"label": label, "score": share} for label, share in ranked])

    def _preflight(self, request: Request) -> Answer:
        allow = {"Access-Control-Allow-Methods": "GET, POST, OPTIONS", "Access-Control-Allow-Headers": "Content-Type, X-Api-Key"}
        return {"statusCode": 204, "headers": allow, "body": "", "isBase64Encoded": False}

    def _refusal(self, error: ClientError, request: Request) -> Answer:
        request.log["code"] = error.code
        # Hugging Face's client shows what it finds under this key.
        answer = _answer(error.status, error.body() | ({"error": error.message} if request.zero_shot else {}))
        if error.status == 503:
            answer["headers"]["Retry-After"] = str(RETRY_AFTER_S)
        return answer


def _answer(status: int, body: object) -> Answer:
    # A message may quote half of a surrogate pair, which no encoding of the answer can hold.
    return _raw(status, "application/json", json.dumps(body, ensure_ascii=False).encode("utf-8", "replace").decode())


def _file(name: str, kind: str) -> Answer:
    return _raw(200, kind, Path(__file__).with_name(name).read_text(encoding="utf-8"))


def _raw(status: int, kind: str, body: str) -> Answer:
    return {"statusCode": status, "headers": {"Content-Type": kind}, "body": body, "isBase64Encoded": False}
