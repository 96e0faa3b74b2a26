"""The dialect of a request, which its answer and its errors have too."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from classifier.api.body import Body
from classifier.api.hugging_face import HUGGING_FACE
from classifier.api.openai import OPENAI
from classifier.api.own import OWN
from classifier.contract.errors import ApiError
from classifier.contract.request.query import Query
from classifier.contract.strict_json import JsonObject

Sent = TypeVar("Sent")
Answer = TypeVar("Answer", contravariant=True)


class WritesErrors(Protocol):
    def error(self, err: ApiError) -> JsonObject: ...


class Dialect(WritesErrors, Protocol[Sent, Answer]):
    """A form of requests, of their answers and of their errors."""

    def read(self, body: Body, parameters: Mapping[str, Sequence[str]]) -> Sent:
        """`parameters`: those of the URL. Raises ApiError."""

    def write(self, query: Sent, answer: Answer) -> object:
        """The answer's body, before it is JSON."""


def dialect_of_path(path: str) -> WritesErrors:
    return OPENAI if path.startswith("/v1/") else OWN


def dialect_of_body(body: Body) -> Dialect[Query, Any]:
    """For the route that serves two dialects."""
    return HUGGING_FACE if HUGGING_FACE.speaks(body) else OWN
