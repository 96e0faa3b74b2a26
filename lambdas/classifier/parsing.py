"""JSON objects and query strings to checked requests. Every error is in our own words, never a library's."""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from classifier.body import no_constant
from classifier.errors import ClientError, quoted, shortened
from classifier.schema import (
    MAX_SQUARES,
    OTHER_NAMES,
    QUERY_LISTS,
    QUERY_PARAMETERS,
    QUERY_TEXTS,
    ClassifyRequest,
    HuggingFaceParameters,
    HuggingFaceRequest,
    JsonObject,
)

M = TypeVar("M", bound=BaseModel)
COMMAS = frozenset(",，、،")
# What Hugging Face's form calls our fields.
HUGGING_FACE_FIELDS = {
    "image_data": "inputs",
    "labels": "parameters.candidate_labels",
    "templates": "parameters.hypothesis_template",
}

# How a request names its pictures. Where they come from a store, it has none of these.
PICTURE_FIELDS = ("image_data", "images", "image_embedding", "image_s3", "inputs", "parameters")
# The smallest PNG there is stands for them.
_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="


@dataclass(frozen=True)
class ParsedRequest:
    """A request, how the caller named its fields, and whether the answer takes Hugging Face's form."""

    request: ClassifyRequest
    field_names: Mapping[str, str] = field(default_factory=dict)
    hugging_face: bool = False

    def path(self, name: str, *rest: object) -> str:
        """The caller's own path of a part of the request, such as `labels.3`, each step cut to what an error can hold."""
        return ".".join((self.field_names.get(name, name), *(shortened(str(step)) for step in rest)))


def is_hugging_face(body: JsonObject | bytes) -> bool:
    """Whether the caller speaks Hugging Face's form, and so expects it back."""
    return isinstance(body, dict) and ("inputs" in body or "parameters" in body)


def parse(body: JsonObject | bytes, query: Mapping[str, Sequence[str]]) -> ParsedRequest:
    """Raises ClientError."""
    return parse_query(query, body) if isinstance(body, bytes) else parse_json(body)


def parse_json(value: JsonObject) -> ParsedRequest:
    """Raises ClientError."""
    if is_hugging_face(value):
        return ParsedRequest(_parse_hugging_face(value), HUGGING_FACE_FIELDS, hugging_face=True)
    request = _validate(ClassifyRequest, value)
    _check_exactly_one(
        request,
        ("image_data", "images", "image_embedding", "image_s3"),
        "is missing; send an image: image_data, images or image_embedding.",
    )
    _check_combinations(request)
    return ParsedRequest(request)


def parse_options(options: JsonObject) -> ParsedRequest:
    """A request whose pictures come from a store: `images` holds a stand-in. Raises ClientError."""
    if named := next((name for name in PICTURE_FIELDS if name in options), None):
        raise ClientError(400, "invalid_request", f"{named} can't be here: the pictures come from the store; remove it.", named)
    return parse_json({**options, "images": [_PIXEL]})


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
            value[name] = texts[0] if name in QUERY_TEXTS else _number_or_boolean(texts[0])
    if "labels" not in value:
        raise ClientError(400, "invalid_request", "labels is missing; add it to the URL: ?labels=a+cat&labels=a+dog.", "labels")
    request = _validate(ClassifyRequest, value).model_copy(update={"image_data": image})
    _check_combinations(request)
    return ParsedRequest(request)


def _parse_hugging_face(value: JsonObject) -> ClassifyRequest:
    hugging_face = _validate(HuggingFaceRequest, value)
    request = ClassifyRequest.model_construct(
        image_data=hugging_face.inputs,
        labels=hugging_face.parameters.candidate_labels,
        templates=[hugging_face.parameters.hypothesis_template],
    )
    _check_joined_labels(request, HUGGING_FACE_FIELDS["labels"])
    return request


def _check_combinations(request: ClassifyRequest) -> None:
    """Checks what no field can check alone. Raises ClientError."""
    _check_joined_labels(request, "labels")
    _check_exactly_one(request, ("labels", "categories"), "is missing; say what to look for: labels or categories.")
    multi_label, embedding = request.multi_label, request.image_embedding
    contradictions = (
        ("combine", request.categories is None, "needs categories; send them, or remove it."),
        ("combine", multi_label and request.combine == "sum", 'must be "max" with multi_label; send that, or remove it.'),
        ("negative_template", not multi_label, "needs multi_label; send multi_label: true, or remove it."),
        ("fit", embedding is not None, "prepares an image, and image_embedding has none; remove one of them."),
        ("regions", embedding is not None, "are cut from an image, and image_embedding has none; remove one of them."),
        ("regions", request.fit == "tiles", 'and fit: "tiles" are two ways to cut an image; remove one of them.'),
        ("regions_combine", request.regions is None, "needs regions; send them, or remove it."),
        (
            "regions_combine",
            request.regions_combine == "max" and not multi_label,
            'must be "whole" without multi_label; send that.',
        ),
    )
    for name, is_wrong, message in contradictions:
        if is_wrong and name in request.model_fields_set:
            raise ClientError(400, "invalid_request", f"{name} {message}", name)
    squares, images = (request.regions or 0) ** 2 + 1, len(request.images or ())
    if request.regions and images * squares > MAX_SQUARES:
        message = (
            f"regions: {request.regions} makes {squares} pictures of each of {images}; at most {MAX_SQUARES} are allowed in all. "
            f"Send at most {MAX_SQUARES // squares} images, or fewer regions."
        )
        raise ClientError(400, "invalid_request", message, "regions")


def _check_joined_labels(request: ClassifyRequest, field: str) -> None:
    """Raises ClientError for a single label that is several: it would get 1.0, and nobody would notice."""
    if request.labels is None or len(request.labels) > 1 or request.multi_label or request.embedding:
        return
    [label] = request.labels
    if not COMMAS.isdisjoint(label) or (label.startswith("[") and label.endswith("]")):
        message = (
            f"{field} has one entry, {quoted(label)}, with a comma or brackets, and one label alone always gets 1.0; send each label by "
            'itself: "labels": ["a dog", "a cat"] in JSON, ?labels=a+dog&labels=a+cat in the URL.'
        )
        raise ClientError(400, "invalid_request", message, field)


def _check_exactly_one(request: ClassifyRequest, names: tuple[str, ...], missing: str) -> None:
    if not (sent := [name for name in names if getattr(request, name) is not None]):
        raise ClientError(400, "invalid_request", f"{names[0]} {missing}", names[0])
    if len(sent) > 1:
        raise ClientError(400, "invalid_request", f"{sent[0]} and {sent[1]} exclude each other; send one of them.", sent[1])


def _number_or_boolean(text: str) -> object:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return json.loads(text, parse_constant=no_constant)
    except (ValueError, RecursionError, ClientError):
        return text


def _validate(model: type[M], value: JsonObject) -> M:
    _check_names(model, value)
    if model is HuggingFaceRequest and isinstance(value.get("parameters"), dict):
        _check_names(HuggingFaceParameters, value["parameters"], "parameters.")
    try:
        return model.model_validate(value)
    except ValidationError as err:
        raise _explain(err.errors(include_url=False, include_input=False)[0]) from err


def _check_names(model: type[BaseModel], value: JsonObject, prefix: str = "") -> None:
    """Raises ClientError for the first unknown field, before a million of them become errors, and for null."""
    known = model.model_fields
    for name, item in value.items():
        if name not in known:
            raise _unknown(name, list(known), "field", prefix)
        if item is None:
            raise ClientError(400, "invalid_request", f"{prefix}{name} is null; give it a value, or leave it out.", prefix + name)


def _unknown(name: str, known: Sequence[str], kind: str, prefix: str = "") -> ClientError:
    # difflib takes memory and time for every character.
    near = [OTHER_NAMES[name]] if name in OTHER_NAMES else difflib.get_close_matches(shortened(name), known, 1)
    if kind == "field" and "url" in name.lower():
        hint = "Nothing is fetched from the web; send the file itself, in base64, as image_data."
    else:
        hint = f"Did you mean {near[0]}?" if near and near[0] in known else f"Known: {', '.join(known)}."
    return ClientError(400, "invalid_request", f"The {kind} {quoted(name)} is unknown. {hint}", prefix + shortened(name))


def _explain(error: ErrorDetails) -> ClientError:
    """One message for each kind of error."""
    path = [shortened(str(part)) for part in error["loc"] if part != "[key]"]
    kind, context, name = error["type"], error.get("ctx", {}), ".".join(path)
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
