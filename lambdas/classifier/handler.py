"""HTTP, and nothing else: API Gateway REST (v1) events to answers."""

import json
import logging
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from classifier.clip import Clip
from classifier.errors import ClientError
from classifier.image import open_image
from classifier.prompts import Prompt, Prompts
from classifier.schema import read_request, shown
from classifier.scoring import similarities, softmax

# What is left of the time must do for scoring, the answer and one more round of prompts.
RESERVE_MS = 1500
RETRY_AFTER_S = 1
Event = dict[str, Any]
Answer = dict[str, Any]
logger = logging.getLogger(__name__)


class Context(Protocol):
    """What is used of Lambda's context object."""

    aws_request_id: str

    def get_remaining_time_in_millis(self) -> int: ...


class Request:
    """One event on its way: its stage times in milliseconds and what the log line will say."""

    def __init__(self, event: Event, context: Context) -> None:
        self.event, self.context = event, context
        self.headers = {str(k).lower(): str(v) for k, v in (event.get("headers") or {}).items()}
        self.stages = dict.fromkeys(("decode", "image", "text"), 0.0)
        self.log: dict[str, object] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.stages[name] += (time.perf_counter() - began) * 1000

    def in_time(self) -> bool:
        return self.context.get_remaining_time_in_millis() > RESERVE_MS

    def json_body(self) -> str | bytes:
        """The body of a request that says it is JSON, or says nothing. Raises ClientError."""
        kind = self.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        if kind != "application/json":
            hint = 'send JSON with -H "Content-Type: application/json"'
            raise ClientError(415, "unsupported_media_type", f"The content type {shown(kind)} is not taken; {hint}.")
        if query := self.event.get("multiValueQueryStringParameters"):
            name = shown(str(next(iter(query))))
            raise ClientError(
                400, "invalid_request", f"The query parameter {name} stands beside a JSON body; put all in the body."
            )
        body = self.event.get("body") or ""
        return b64decode(body) if self.event.get("isBase64Encoded") else body


class Handler:
    """Answers events; whatever one does, the next is served."""

    def __init__(self, clip: Clip, *, cors_origin: str = "*") -> None:
        self._clip, self._prompts, self._cold = clip, Prompts(clip), True
        self._headers = {
            "Access-Control-Allow-Origin": cors_origin,
            "Access-Control-Expose-Headers": "Server-Timing, X-Model",
            "X-Model": clip.settings.name,
        }
        self._routes: dict[tuple[str, str], Callable[[Request], Answer]] = {
            ("POST", "/"): self._classify,
            ("OPTIONS", "/"): self._preflight,
        }

    def __call__(self, event: Event, context: Context) -> Answer:
        began, request = time.perf_counter(), Request(event, context)
        try:
            answer = self._route(request)
        except ClientError as err:
            answer = self._refusal(err)
            request.log["code"] = err.code
        except Exception:
            logger.exception("internal error")
            answer = self._refusal(ClientError(500, "internal_error", "Internal error, nothing you did."))
            request.log["code"] = "internal_error"
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
        answer = self._refusal(ClientError(405, "not_found", f"This method is not taken here; use {allowed}."))
        answer["headers"]["Allow"] = allowed
        return answer

    def _classify(self, request: Request) -> Answer:
        asked = read_request(request.json_body())
        prompts = self._read(asked.labels)
        with request.stage("decode"):
            picture = open_image(asked.image_data, "image_data")
            pixels = picture.pixels(self._clip.settings.image)
        saved = sum(prompt.embedding is not None for prompt in prompts)
        request.log |= {"bytes": len(asked.image_data), "format": picture.format, "pixels": picture.width * picture.height}
        request.log |= {"labels": len(prompts), "cache_hits": saved}
        with request.stage("image"):
            image = self._clip.encode_image(pixels)
        with request.stage("text"):
            texts = self._prompts.embed(prompts, request.in_time)
        probabilities = softmax(self._clip.settings.logit_scale * similarities(texts, image))
        return _answer(200, {"result": dict(zip(asked.labels, probabilities, strict=True))})

    def _read(self, labels: list[str]) -> list[Prompt]:
        """Refuses labels that are the same to the model. Raises ClientError."""
        prompts = [self._prompts.read(label, f"labels.{i}") for i, label in enumerate(labels)]
        first: dict[tuple[int, ...], int] = {}
        for i, prompt in enumerate(prompts):
            j = first.setdefault(prompt.ids, i)
            if i != j:
                message = f"labels.{j} {shown(labels[j])} and labels.{i} {shown(labels[i])} are the same to the model; drop one."
                raise ClientError(400, "invalid_request", message, f"labels.{i}")
        return prompts

    def _preflight(self, request: Request) -> Answer:
        allow = {"Access-Control-Allow-Methods": "POST, OPTIONS", "Access-Control-Allow-Headers": "Content-Type, X-Api-Key"}
        return {"statusCode": 204, "headers": allow, "body": "", "isBase64Encoded": False}

    def _refusal(self, error: ClientError) -> Answer:
        body = {"message": error.message, "code": error.code} | ({"field": error.field} if error.field else {})
        answer = _answer(error.status, body)
        if error.status == 503:
            answer["headers"]["Retry-After"] = str(RETRY_AFTER_S)
        return answer


def _answer(status: int, body: object) -> Answer:
    # A message may quote half of a surrogate pair, which no encoding of the answer can hold.
    text = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace").decode()
    return {"statusCode": status, "headers": {"Content-Type": "application/json"}, "body": text, "isBase64Encoded": False}
