"""HTTP: from an event to its response, and one log line for each."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from classifier import VERSION
from classifier.api.body import Body, read_body
from classifier.api.dialects import Dialect, WritesErrors, dialect_of_body, dialect_of_path
from classifier.api.embeddings import OpenAIEmbeddings
from classifier.api.events import Request, Response, kind_of
from classifier.api.models import OpenAIModels
from classifier.api.moderations import OpenAIModerations
from classifier.api.own import OWN
from classifier.api.responses import (
    cors,
    document,
    error_response,
    health,
    json_response,
    page,
    preflight,
)
from classifier.contract.classifiers.file import ClassifierFile
from classifier.contract.errors import ApiError
from classifier.contract.request.image_fields import StoredImage
from classifier.contract.request.query import Query
from classifier.contract.routes import PREFLIGHTS, ROUTES, methods, path_of
from classifier.contract.strict_json import JsonObject
from classifier.engine.context import RequestContext
from classifier.engine.engine import Engine
from classifier.model.encoders import Encoders

Sent = TypeVar("Sent")
Answer = TypeVar("Answer")
Route = Callable[[Request, RequestContext], Response]
logger = logging.getLogger(__name__)


class LambdaContext(Protocol):
    """The part of Lambda's context object that the handler uses."""

    def get_remaining_time_in_millis(self) -> int: ...


class Store(Protocol):
    """The deployment's bucket, as far as a request may name files in it."""

    def fetch(self, query: Query) -> Query:
        """The request with the files that it names. Raises ApiError."""


class Handler:
    """Answers events. A failing event never affects the next."""

    def __init__(
        self,
        encoders: Encoders,
        *,
        cors_origin: str = "*",
        bucket: Store | None = None,
        classifiers: Mapping[str, ClassifierFile] | None = None,
        start_ms: Callable[[], int] = lambda: 60_000,
        version: str = VERSION,
    ) -> None:
        """`cors_origin`: `*`, or origins with commas between; `classifiers`: those deployed, by
        name; `start_ms` tells how many milliseconds of the start-up are left, and never ends by
        default; `version`: the image's.

        Raises ClassifierError for a classifier whose prompts a request would be refused for.
        """
        self._bucket = bucket
        self._cold = True
        self._engine = Engine(encoders, classifiers, start_ms)
        self._origins = cors_origin.split(",")
        self._headers = {
            "Access-Control-Expose-Headers": "Server-Timing, X-Model, X-Version",
            "X-Model": encoders.manifest.name,
            "X-Version": version,
        }
        self._moderations = OpenAIModerations(self._engine.registry)
        self._embeddings = OpenAIEmbeddings(encoders.manifest)
        self._models = OpenAIModels(encoders.manifest, self._engine.registry)
        answers: dict[str, Route] = {
            "classify": self._classify,
            "classifiers": lambda *_: json_response(200, self._engine.registry.describe()),
            "moderations": self._moderate,
            "embeddings": self._embed,
            "models": lambda *_: json_response(200, self._models.list()),
            "model": lambda request, _: json_response(200, self._models.find(request.path)),
            "page": lambda request, _: page(request, encoders.manifest),
            "document": lambda *_: document(self._engine.registry.names),
            "health": lambda *_: health(encoders.manifest, version),
        }
        self._routes = {(route.method, route.path): answers[route.name] for route in ROUTES}
        for path in PREFLIGHTS:
            self._routes["OPTIONS", path] = lambda request, _: preflight(request.path)

    def __call__(self, event: object, lambda_context: LambdaContext) -> Any:
        start = time.perf_counter()
        context = RequestContext(lambda_context.get_remaining_time_in_millis)
        kind = kind_of(event)
        dialect: WritesErrors = OWN
        origin = ""
        try:
            request = kind.read()
            origin = request.headers.get("origin", "")
            dialect = dialect_of_path(request.path)
            response = self._route(request, context, dialect)
        except Exception as err:
            response = error_response(err, context, dialect)
        timing = ", ".join(f"{name};dur={spent:.1f}" for name, spent in context.stages.items())
        headers = {**cors(self._origins, origin), **self._headers, "Server-Timing": timing}
        response["headers"] = headers | response["headers"]
        self._log(response, context, time.perf_counter() - start)
        return kind.write(response)

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

    def _route(self, request: Request, context: RequestContext, dialect: WritesErrors) -> Response:
        route = self._routes.get((request.method, path_of(request.path) or ""))
        if route:
            return route(request, context)
        allowed = ", ".join(methods(request.path))
        if not allowed:
            raise ApiError(404, "not_found", _nothing_at(request.path))
        err = ApiError(405, "not_found", f"This method is not allowed here; use {allowed}.")
        response = error_response(err, context, dialect)
        response["headers"]["Allow"] = allowed
        return response

    def _classify(self, request: Request, context: RequestContext) -> Response:
        body = read_body(request)
        return self._answer(dialect_of_body(body), body, request, context, self._result)

    def _moderate(self, request: Request, context: RequestContext) -> Response:
        return self._answer(self._moderations, read_body(request), request, context, self._result)

    def _embed(self, request: Request, context: RequestContext) -> Response:
        return self._answer(
            self._embeddings,
            read_body(request),
            request,
            context,
            lambda query, context: self._engine.embed(query.input, context),
        )

    def _answer(
        self,
        dialect: Dialect[Sent, Answer],
        body: Body,
        request: Request,
        context: RequestContext,
        engine: Callable[[Sent, RequestContext], Answer],
    ) -> Response:
        """Reads the body, asks the engine, and writes the answer or the error, in one dialect."""
        try:
            query = dialect.read(body, request.query)
            return json_response(200, dialect.write(query, engine(query, context)))
        except Exception as err:
            return error_response(err, context, dialect)

    def _result(self, query: Query, context: RequestContext) -> JsonObject:
        return self._engine.answer(self._with_files(query), context)

    def _with_files(self, query: Query) -> Query:
        """The query with the files that it names in the bucket. Raises ApiError."""
        if self._bucket:
            return self._bucket.fetch(query)
        if any(isinstance(file, StoredImage) for file in query.images):
            message = (
                "image_s3 can't be used: this deployment has no bucket (its setting bulk_bucket);"
                " send the file itself, as image_data."
            )
            raise ApiError(400, "invalid_request", message, "image_s3")
        return query


def _nothing_at(path: str) -> str:
    near = path.rstrip("/")
    if methods(near):
        return f"There is nothing at {near}/; leave out the slash at its end: {near}."
    return "There is nothing at this path; send images with POST to /."
