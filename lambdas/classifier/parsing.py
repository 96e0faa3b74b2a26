"""JSON objects and query strings to checked requests."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from classifier.body import no_constant
from classifier.errors import ClientError, shortened
from classifier.schema import (
    QUERY_LISTS,
    QUERY_PARAMETERS,
    ClassifyRequest,
    HuggingFaceRequest,
    JsonObject,
)
from classifier.validation import check_exactly_one, check_joined_labels, check_question, unknown, validate

# What Hugging Face's form calls our fields.
HUGGING_FACE_FIELDS = {
    "image_data": "inputs",
    "labels": "parameters.candidate_labels",
    "templates": "parameters.hypothesis_template",
}


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
    request = validate(ClassifyRequest, value)
    check_exactly_one(
        request, ("image_data", "images", "image_embedding"), "is missing; send an image: image_data, images or image_embedding."
    )
    _check_combinations(request)
    return ParsedRequest(request)


def parse_query(query: Mapping[str, Sequence[str]], image: bytes) -> ParsedRequest:
    """A request whose body is the image itself. Raises ClientError."""
    value: JsonObject = {}
    for name, texts in query.items():
        if name not in QUERY_PARAMETERS:
            raise unknown(name, QUERY_PARAMETERS, "query parameter")
        if name in QUERY_LISTS:
            value[name] = list(texts)
        elif len(texts) > 1:
            message = f"The query parameter {name} was sent {len(texts)} times; send it once."
            raise ClientError(400, "invalid_request", message, name)
        else:
            value[name] = texts[0] if name in ("negative_template", "fit") else _number_or_boolean(texts[0])
    if "labels" not in value:
        raise ClientError(400, "invalid_request", "labels is missing; add it to the URL: ?labels=a+cat&labels=a+dog.", "labels")
    request = validate(ClassifyRequest, value).model_copy(update={"image_data": image})
    _check_combinations(request)
    return ParsedRequest(request)


def _parse_hugging_face(value: JsonObject) -> ClassifyRequest:
    hugging_face = validate(HuggingFaceRequest, value)
    request = ClassifyRequest.model_construct(
        image_data=hugging_face.inputs,
        labels=hugging_face.parameters.candidate_labels,
        templates=[hugging_face.parameters.hypothesis_template],
    )
    check_joined_labels(request, HUGGING_FACE_FIELDS["labels"])
    return request


def _check_combinations(request: ClassifyRequest) -> None:
    """Checks what no field can check alone. Raises ClientError."""
    # One label alone may be asked for an embedding's sake.
    check_question(request, one_label=request.embedding)
    if request.image_embedding is not None and "fit" in request.model_fields_set:
        message = "fit prepares an image, and image_embedding has none; remove one of them."
        raise ClientError(400, "invalid_request", message, "fit")


def _number_or_boolean(text: str) -> object:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return json.loads(text, parse_constant=no_constant)
    except (ValueError, RecursionError, ClientError):
        return text
