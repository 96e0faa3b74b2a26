"""HTTP: routes, responses and the log line."""

import base64
import hashlib
import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from classifier.api import openai
from classifier.api.body import read_body, read_object
from classifier.api.events import Request, Response, read_event, write_response
from classifier.contract.classifier_file import ClassifierFile
from classifier.contract.errors import ApiError
from classifier.contract.parsing import ParsedRequest, is_hugging_face, parse
from classifier.contract.schema import StoredImage
from classifier.engine.context import RequestContext
from classifier.engine.engine import Engine
from classifier.model.encoders import Encoders

RETRY_AFTER_S = 1
Form = Literal["own", "hugging_face", "openai"]
logger = logging.getLogger(__name__)


class LambdaContext(Protocol):
    """What the handler uses of Lambda's context object."""

    def get_remaining_time_in_millis(self) -> int: ...


class Store(Protocol):
    """The deployment's bucket, as far as a request may name files in it."""

    def fetch(self, parsed: ParsedRequest) -> ParsedRequest:
        """The request with the files that it names. Raises ApiError."""


class Handler:
    """Answers events. Whatever one of them does, the next one is served."""

    def __init__(
        self,
        encoders: Encoders,
        *,
        cors_origin: str = "*",
        bucket: Store | None = None,
        classifiers: Mapping[str, ClassifierFile] | None = None,
        start_ms: Callable[[], int] = lambda: 60_000,
    ) -> None:
        """`classifiers`: those deployed, by name; `start_ms` tells how many milliseconds of the
        start-up are left, and never ends by default.

        Raises ClassifierError for a classifier whose prompts a request would be refused for.
        """
        self._manifest = encoders.manifest
        self._bucket = bucket
        self._cold = True
        self._engine = Engine(encoders, classifiers, start_ms)
        self._headers = {
            "Access-Control-Allow-Origin": cors_origin,
            "Access-Control-Expose-Headers": "Server-Timing, X-Model",
            "X-Model": encoders.manifest.name,
        }
        self._routes: dict[tuple[str, str], Callable[[Request, RequestContext], Response]] = {
            ("POST", "/"): self._classify,
            ("GET", "/classifiers"): lambda *_: _json(200, self._engine.registry.describe()),
            ("POST", "/v1/moderations"): self._moderate,
            ("POST", "/v1/embeddings"): self._embed,
            **{
                ("OPTIONS", path): self._preflight
                for path in ("/", "/classifiers", "/v1/moderations", "/v1/embeddings")
            },
            ("GET", "/"): lambda *_: _page(),
            ("GET", "/openapi.json"): lambda *_: self._describe(),
        }

    def __call__(self, event: object, lambda_context: LambdaContext) -> Any:
        start = time.perf_counter()
        context = RequestContext(lambda_context.get_remaining_time_in_millis)
        form: Form = "own"
        try:
            request = read_event(event)
            form = "openai" if request.path.startswith("/v1/") else "own"
            response = self._route(request, context, form)
        except Exception as err:
            response = _error(err, context, form)
        timing = ", ".join(f"{name};dur={spent:.1f}" for name, spent in context.stages.items())
        response["headers"] = {**self._headers, "Server-Timing": timing, **response["headers"]}
        self._log(response, context, time.perf_counter() - start)
        return write_response(event, response)

    def _log(self, response: Response, context: RequestContext, seconds: float) -> None:
        fields = {
            "status": response["statusCode"],
            "start": "cold" if self._cold else "warm",
            "total_ms": round(seconds * 1000, 1),
            **{f"{name}_ms": round(spent, 1) for name, spent in context.stages.items()},
            **context.log,
        }
        logger.info("request", extra=fields)
        self._cold = False

    def _route(self, request: Request, context: RequestContext, form: Form) -> Response:
        route = self._routes.get((request.method, request.path))
        if route:
            return route(request, context)
        allowed = ", ".join(method for method, path in self._routes if path == request.path)
        if not allowed:
            raise ApiError(404, "not_found", "There is nothing at this path; POST to /.")
        response = _error(
            ApiError(405, "not_found", f"This method is not allowed here; use {allowed}."),
            context,
            form,
        )
        response["headers"]["Allow"] = allowed
        return response

    def _classify(self, request: Request, context: RequestContext) -> Response:
        body = read_body(request)
        try:
            parsed = self._with_files(parse(body, request.query))
            answer = self._engine.answer(parsed, context)
        except Exception as err:
            return _error(err, context, "hugging_face" if is_hugging_face(body) else "own")
        if not parsed.hugging_face:
            return _json(200, answer)
        ranked = sorted(answer["result"].items(), key=lambda pair: -pair[1])
        return _json(200, [{"label": label, "score": score} for label, score in ranked])

    def _with_files(self, parsed: ParsedRequest) -> ParsedRequest:
        """The request with the files that it names in the bucket. Raises ApiError."""
        if self._bucket:
            return self._bucket.fetch(parsed)
        images = parsed.request.images or ()
        if parsed.request.image_s3 or any(isinstance(file, StoredImage) for file in images):
            message = (
                "image_s3 can't be used: this deployment has no bucket (its setting bulk_bucket);"
                " send the file itself, as image_data."
            )
            raise ApiError(400, "invalid_request", message, "image_s3")
        return parsed

    def _moderate(self, request: Request, context: RequestContext) -> Response:
        parsed = openai.parse_moderation(read_object(request))
        model = str(parsed.request.classifier)
        openai.check_thresholds_of(model, self._engine.registry.find(model, "model").file)
        return _json(200, openai.moderation(model, self._engine.answer(parsed, context)))

    def _embed(self, request: Request, context: RequestContext) -> Response:
        asked = openai.parse_embeddings(read_object(request), self._manifest)
        return _json(200, openai.embeddings(asked, *self._engine.embed(asked.input, context)))

    def _describe(self) -> Response:
        """The document, with the names of the classifiers that are there."""
        response = _file("openapi.json", "application/json")
        names = self._engine.registry.names
        if names:
            document = json.loads(response["body"])
            operation = document["paths"]["/"]["post"]
            document["components"]["schemas"]["ClassifyRequest"]["properties"]["classifier"][
                "enum"
            ] = names
            next(one for one in operation["parameters"] if one["name"] == "classifier")["schema"][
                "enum"
            ] = names
            response["body"] = json.dumps(document, ensure_ascii=False)
        return response

    def _preflight(self, request: Request, context: RequestContext) -> Response:
        headers = {
            "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
            "Access-Control-Allow-Headers": "Authorization, Content-Type, X-Api-Key",
        }
        return {"statusCode": 204, "headers": headers, "body": "", "isBase64Encoded": False}


def _error(err: Exception, context: RequestContext, form: Form = "own") -> Response:
    """The response to an error; an internal one is logged with its traceback and not shown."""
    if not isinstance(err, ApiError):
        logger.error("internal error", exc_info=err)
        err = ApiError(500, "internal_error", "Internal error, nothing you did.")
    context.log["code"] = err.code
    # Hugging Face's client shows what it finds under this key.
    body = (
        openai.error(err)
        if form == "openai"
        else err.body() | ({"error": err.message} if form == "hugging_face" else {})
    )
    response = _json(err.status, body)
    if err.status == 503:
        response["headers"]["Retry-After"] = str(RETRY_AFTER_S)
    return response


def _json(status: int, body: object) -> Response:
    # A message may quote half of a surrogate pair, which no encoding of the response can hold.
    return _response(
        status,
        "application/json",
        json.dumps(body, ensure_ascii=False).encode("utf-8", "replace").decode(),
    )


def _file(name: str, content_type: str) -> Response:
    return _response(200, content_type, Path(__file__).with_name(name).read_text(encoding="utf-8"))


def _page() -> Response:
    """The playground, with a security policy that lets exactly its own script and style run and
    reach this address alone.
    """
    response = _file("playground.html", "text/html; charset=utf-8")
    hashes = {
        name: base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()
        for name, block in re.findall(r"<(script|style)[^>]*>(.*?)</\1>", response["body"], re.S)
    }
    response["headers"]["Content-Security-Policy"] = (
        f"default-src 'none'; script-src 'sha256-{hashes['script']}'; style-src"
        f" 'sha256-{hashes['style']}'; img-src data: blob:; connect-src 'self' data:; form-action"
        " 'none'; base-uri 'none'; frame-ancestors 'none'"
    )
    return response


def _response(status: int, content_type: str, body: str) -> Response:
    return {
        "statusCode": status,
        "headers": {"Content-Type": content_type},
        "body": body,
        "isBase64Encoded": False,
    }
