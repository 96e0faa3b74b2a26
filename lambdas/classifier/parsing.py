"""Bodies and query strings to checked requests. Every error is in our own words, never a library's."""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from classifier.errors import ClientError, quoted
from classifier.events import Request
from classifier.schema import (
    IMAGE_TYPES,
    QUERY_LISTS,
    QUERY_PARAMETERS,
    ClassifyRequest,
    HuggingFaceParameters,
    HuggingFaceRequest,
    JsonObject,
)

M = TypeVar("M", bound=BaseModel)
EXAMPLE = '{"image_data": "…", "labels": ["…", "…"]}'
# What Hugging Face's form calls our fields.
HUGGING_FACE_FIELDS = {
    "image_data": "inputs",
    "labels": "parameters.candidate_labels",
    "templates": "parameters.hypothesis_template",
}
JSON_HINT, IMAGE_HINT = '-H "Content-Type: application/json"', '-H "Content-Type: image/jpeg"'


@dataclass(frozen=True)
class ParsedRequest:
    """A request, how the caller named its fields, and whether the answer takes Hugging Face's form."""

    request: ClassifyRequest
    field_names: Mapping[str, str] = field(default_factory=dict)
    hugging_face: bool = False

    def path(self, name: str, *rest: object) -> str:
        """The caller's own path of a part of the request, such as `labels.3`."""
        return ".".join((self.field_names.get(name, name), *map(str, rest)))


def read_body(request: Request) -> JsonObject | bytes:
    """The JSON object, or the image file, that the body holds. Raises ClientError."""
    content_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if content_type in IMAGE_TYPES:
        return request.body if isinstance(request.body, bytes) else request.body.encode()
    if content_type != "application/json":
        message = (
            f"The content type {quoted(content_type)} is not supported; for JSON add {JSON_HINT}, for an image {IMAGE_HINT}."
        )
        raise ClientError(415, "unsupported_media_type", message)
    if request.query:
        name = quoted(next(iter(request.query)))
        message = f"The query parameter {name} can't be combined with a JSON body; put everything in the body."
        raise ClientError(400, "invalid_request", message)
    return read_json(request.body)


def is_hugging_face(body: JsonObject | bytes) -> bool:
    """Whether the caller speaks Hugging Face's form, and so expects it back."""
    return isinstance(body, dict) and ("inputs" in body or "parameters" in body)


def parse(body: JsonObject | bytes, query: Mapping[str, Sequence[str]]) -> ParsedRequest:
    """Raises ClientError."""
    return parse_query(query, body) if isinstance(body, bytes) else parse_json(body)


def read_json(body: str | bytes) -> JsonObject:
    """The JSON object of a body. Raises ClientError."""
    try:
        value = json.loads(body, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except RecursionError as err:
        raise ClientError(400, "invalid_json", "The body is nested too deep; send a flat object.") from err
    except UnicodeDecodeError as err:
        raise ClientError(400, "invalid_json", "The body is not UTF-8; send JSON in UTF-8.") from err
    except json.JSONDecodeError as err:
        message = f"The body is not JSON from line {err.lineno}, column {err.colno} on; send a JSON object."
        raise ClientError(400, "invalid_json", message) from err
    except ValueError as err:
        raise ClientError(400, "invalid_json", "The body has a number that is too long to read.") from err
    if not isinstance(value, dict):
        raise ClientError(400, "invalid_request", f"The body must be a JSON object: {EXAMPLE}.")
    return value


def parse_json(value: JsonObject) -> ParsedRequest:
    """Raises ClientError."""
    if is_hugging_face(value):
        return ParsedRequest(_parse_hugging_face(value), HUGGING_FACE_FIELDS, hugging_face=True)
    request = _validate(ClassifyRequest, value)
    _check_exactly_one(
        request, ("image_data", "images", "image_embedding"), "is missing; send an image: image_data, images or image_embedding."
    )
    _check_combinations(request)
    return ParsedRequest(request)


def parse_query(query: Mapping[str, Sequence[str]], image: bytes) -> ParsedRequest:
    """A request whose body is the image itself. Raises ClientError."""
    value: JsonObject = {}
    for name, texts in query.items():
        if name not in QUERY_PARAMETERS:
            raise _unknown(name, QUERY_PARAMETERS, "query parameter")
        if name in QUERY_LISTS:
            value[name] = list(texts)
        elif len(texts) > 1:
            message = f"The query parameter {name} was sent {len(texts)} times; send it once."
            raise ClientError(400, "invalid_request", message, name)
        else:
            value[name] = texts[0] if name in ("negative_template", "fit") else _number_or_boolean(texts[0])
    if "labels" not in value:
        raise ClientError(400, "invalid_request", "labels is missing; add it to the URL: ?labels=a+cat&labels=a+dog.", "labels")
    request = _validate(ClassifyRequest, value).model_copy(update={"image_data": image})
    _check_combinations(request)
    return ParsedRequest(request)


def _parse_hugging_face(value: JsonObject) -> ClassifyRequest:
    request = _validate(HuggingFaceRequest, value)
    return ClassifyRequest.model_construct(
        image_data=request.inputs,
        labels=request.parameters.candidate_labels,
        templates=[request.parameters.hypothesis_template],
    )


def _check_combinations(request: ClassifyRequest) -> None:
    """Checks what no field can check alone. Raises ClientError."""
    _check_exactly_one(request, ("labels", "categories"), "is missing; say what to look for: labels or categories.")
    multi_label, embedding = request.multi_label, request.image_embedding
    contradictions = (
        ("combine", request.categories is None, "needs categories; send them, or remove it."),
        (
            "combine",
            multi_label and request.combine == "sum",
            'must be "max" with multi_label, which adds nothing up; or remove it.',
        ),
        ("negative_template", not multi_label, "needs multi_label; send multi_label: true, or remove it."),
        ("fit", embedding is not None, "prepares an image, and image_embedding has none; remove one of them."),
    )
    for name, is_wrong, message in contradictions:
        if is_wrong and name in request.model_fields_set:
            raise ClientError(400, "invalid_request", f"{name} {message}", name)


def _check_exactly_one(request: ClassifyRequest, names: tuple[str, ...], missing: str) -> None:
    sent = [name for name in names if getattr(request, name) is not None]
    if not sent:
        raise ClientError(400, "invalid_request", f"{names[0]} {missing}", names[0])
    if len(sent) > 1:
        raise ClientError(400, "invalid_request", f"{sent[0]} and {sent[1]} exclude each other; send one of them.", sent[1])


def _number_or_boolean(text: str) -> object:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError, ClientError):
        return text


def _no_duplicates(pairs: list[tuple[str, Any]]) -> JsonObject:
    value: JsonObject = {}
    for key, item in pairs:
        if key in value:
            raise ClientError(400, "invalid_json", f"The key {quoted(key)} appears twice in one object; send it once.")
        value[key] = item
    return value


def _no_constant(name: str) -> NoReturn:
    raise ClientError(400, "invalid_json", f"{name} is not JSON; send a number.")


def _validate(model: type[M], value: JsonObject) -> M:
    for name in model.model_fields:
        if name in value and value[name] is None:
            raise ClientError(400, "invalid_request", f"{name} is null; give it a value, or leave it out.", name)
    try:
        return model.model_validate(value)
    except ValidationError as err:
        raise _explain(err.errors(include_url=False)[0], model) from err


def _unknown(name: str, known: Sequence[str], kind: str) -> ClientError:
    near = difflib.get_close_matches(name, known, 1)
    hint = f" Did you mean {near[0]}?" if near else f" Known: {', '.join(known)}."
    return ClientError(400, "invalid_request", f"The {kind} {quoted(name)} is unknown.{hint}", quoted(name)[1:-1])


def _explain(error: ErrorDetails, model: type[BaseModel]) -> ClientError:
    """One message for each kind of error."""
    path = [quoted(str(part))[1:-1] for part in error["loc"] if part != "[key]"]
    kind, context, name = error["type"], error.get("ctx", {}), ".".join(path)
    if kind == "extra_forbidden":
        parent = HuggingFaceParameters if len(path) > 1 else model
        unknown = _unknown(str(error["loc"][-1]), list(parent.model_fields), "field")
        unknown.field = name
        return unknown
    minimum, maximum = (context.get(key, context.get(f"{key}_length")) for key in ("min", "max"))
    message = {
        "missing": "is missing.",
        "custom": error["msg"],
        "list_type": "must be a list.",
        "dict_type": 'must be an object of lists: {"category": ["prompt", "…"]}.',
        "model_type": "must be an object.",
        "string_type": "must be a string.",
        "bool_type": "must be true or false.",
        "int_type": "must be a whole number.",
        "float_type": "must be a number.",
        "finite_number": "must be a finite number.",
        "literal_error": f"must be one of: {context.get('expected')}.",
        "greater_than_equal": f"must be at least {context.get('ge')}.",
        "less_than_equal": f"must be at most {context.get('le')}.",
        "string_unicode": "has half of a surrogate pair; send whole characters.",
        "string_too_short": "is empty; say what to look for.",
        "string_too_long": f"is too long; at most {maximum} characters are allowed.",
        "too_short": f"needs at least {minimum} {'entry' if minimum == 1 else 'entries'}.",
        "too_long": f"has {context.get('actual_length')} entries; at most {maximum} are allowed.",
    }.get(kind, "is not valid.")
    return ClientError(400, "invalid_request", f"{name} {message}", name)
