"""OpenAI's forms of moderations and embeddings: its requests to ours, our answers and errors to
its.

https://platform.openai.com/docs/api-reference/moderations,
https://platform.openai.com/docs/api-reference/embeddings
"""

import base64
import re
import uuid
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from classifier.contract.bundle import BundleManifest
from classifier.contract.errors import ApiError, quoted
from classifier.contract.parsing import ParsedRequest
from classifier.contract.schema import (
    MAX_ANSWER_BYTES,
    MAX_PROMPTS,
    NOT_BASE64,
    ApiModel,
    ClassifyRequest,
    JsonObject,
    LabelSpec,
    from_base64,
    max_entries,
    reject_replacement_character,
)
from classifier.contract.validation import validate

_PICTURE = re.compile(r"\s*data:[^,]*;\s*base64\s*,", re.IGNORECASE)
_ONE_PICTURE = '[{"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,…"}}]'


def _picture(uri: str) -> bytes:
    try:
        return from_base64(uri)
    except ValueError as err:
        raise PydanticCustomError("custom", NOT_BASE64) from err


def _moderated(value: object) -> bytes:
    """The one picture of a moderation's input."""
    if isinstance(value, list) and len(value) > 1 and all(isinstance(item, dict) for item in value):
        raise PydanticCustomError(
            "custom",
            "has several entries, and OpenAI's form has one result for all; send one picture a"
            " request.",
        )
    item = value[0] if isinstance(value, list) and len(value) == 1 else value
    if isinstance(item, str) or (isinstance(item, dict) and item.get("type") == "text"):
        raise PydanticCustomError(
            "custom", f"is text; only pictures are judged here: send {_ONE_PICTURE}."
        )
    url = (
        item["image_url"]
        if isinstance(item, dict) and item.keys() == {"type", "image_url"}
        else None
    )
    url = url["url"] if isinstance(url, dict) and url.keys() == {"url"} else None
    if not isinstance(url, str) or item["type"] != "image_url":  # type: ignore[index]
        raise PydanticCustomError("custom", f"must be one picture: {_ONE_PICTURE}.")
    if not _PICTURE.match(url):
        raise PydanticCustomError(
            "custom",
            "has an address, and nothing is fetched; send the picture itself as"
            " data:image/jpeg;base64,….",
        )
    return _picture(url)


def _embedded(value: object) -> list[str | bytes]:
    """Texts, and pictures as bytes."""
    items = value if isinstance(value, list) else [value]
    if not items:
        raise PydanticCustomError(
            "custom", "is empty; send a text, a picture as a data: URI, or a list of them."
        )
    if any(isinstance(item, int | list) for item in items):
        raise PydanticCustomError(
            "custom",
            "has token ids, which are those of another model; send texts. LangChain does with"
            " check_embedding_ctx_length=False.",
        )
    found: list[str | bytes] = []
    for item in items:
        if not isinstance(item, str):
            raise PydanticCustomError(
                "custom", "must be a text, a picture as a data: URI, or a list of them."
            )
        if any("\ud800" <= character <= "\udfff" for character in item[:1000]):
            raise PydanticCustomError(
                "custom", "has half of a surrogate pair; send whole characters."
            )
        found.append(_picture(item) if _PICTURE.match(item) else reject_replacement_character(item))
    return found


_URI: JsonObject = {"type": "string", "format": "data uri"}
_IMAGE_INPUT: JsonObject = {
    "type": "array",
    "minItems": 1,
    "maxItems": 1,
    "items": {
        "type": "object",
        "required": ["type", "image_url"],
        "additionalProperties": False,
        "properties": {
            "type": {"const": "image_url"},
            "image_url": {
                "type": "object",
                "properties": {"url": _URI},
                "required": ["url"],
                "additionalProperties": False,
            },
        },
    },
}
_TEXT: JsonObject = {"type": "string", "minLength": 1, "format": "label"}
_EMBEDDED: JsonObject = {
    "anyOf": [
        _TEXT,
        _URI,
        {"type": "array", "items": {"anyOf": [_TEXT, _URI]}, "minItems": 1, "maxItems": 64},
    ]
}


class ModerationRequest(ApiModel):
    """OpenAI's form, for one picture."""

    input: Annotated[bytes, PlainValidator(_moderated), WithJsonSchema(_IMAGE_INPUT)] = Field(
        description="One picture, as a `data:` URI; texts and addresses are refused."
    )
    model: str = Field(
        description="The name of a deployed classifier that has thresholds.",
        json_schema_extra={"format": "classifier"},
    )


class ModerationResult(ApiModel):
    flagged: bool
    categories: dict[str, bool]
    category_scores: dict[str, Annotated[float, Field(ge=0, le=1)]]
    category_applied_input_types: dict[str, list[Literal["image"]]]


class Moderation(ApiModel):
    """`categories` tells which names reached a threshold, and `flagged` whether any did."""

    id: str
    model: str
    results: list[ModerationResult]


class EmbeddingRequest(ApiModel):
    """OpenAI's form, for texts and pictures."""

    input: Annotated[
        list[str | bytes],
        PlainValidator(_embedded),
        max_entries(MAX_PROMPTS),
        WithJsonSchema(_EMBEDDED),
    ] = Field(
        description=(
            "A text, a picture as a `data:` URI, or a list of them; arrays of token ids are"
            " refused."
        )
    )
    model: str = Field(
        description="The bundle's name, as in the header `X-Model`.",
        json_schema_extra={"format": "model"},
    )
    encoding_format: Literal["float", "base64"] = Field(
        "float", description="`base64` is of float32, little-endian."
    )
    dimensions: int | None = Field(
        None,
        description="The model's own number, or leave it out.",
        json_schema_extra={"format": "dimension"},
    )
    user: str | None = Field(None, description="Ignored.")


class Embedded(ApiModel):
    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class Usage(ApiModel):
    """The texts' tokens; pictures have none."""

    prompt_tokens: int
    total_tokens: int


class Embeddings(ApiModel):
    object: Literal["list"]
    data: list[Embedded]
    model: str
    usage: Usage


class OpenAIProblem(ApiModel):
    message: str
    type: Literal["invalid_request_error", "server_error"]
    param: str | None
    code: str


class OpenAIError(ApiModel):
    """What `/v1` routes answer to an error."""

    error: OpenAIProblem


def parse_moderation(body: JsonObject) -> ParsedRequest:
    """The classification that a moderation is. Raises ApiError."""
    asked = validate(ModerationRequest, body)
    request = ClassifyRequest.model_construct(
        {"image_data", "classifier"}, image_data=asked.input, classifier=asked.model
    )
    return ParsedRequest(request, {"image_data": "input", "classifier": "model"})


def check_thresholds_of(model: str, question: LabelSpec) -> None:
    """Raises ApiError for a classifier without thresholds, by which nothing could be flagged."""
    if question.thresholds is None:
        message = (
            f"model {quoted(model)} has no thresholds, so it can flag nothing; set them in its"
            " file, or fit them: make evaluate."
        )
        raise ApiError(400, "invalid_request", message, "model")


def moderation(model: str, answer: JsonObject) -> JsonObject:
    flagged = {entry["name"] for entry in answer["decision"]["labels"]}
    scores = answer["result"]
    result = {
        "flagged": bool(flagged),
        "categories": {name: name in flagged for name in scores},
        "category_scores": scores,
        "category_applied_input_types": {name: ["image"] for name in scores},
    }
    return {"id": f"modr-{uuid.uuid4().hex}", "model": model, "results": [result]}


def parse_embeddings(body: JsonObject, manifest: BundleManifest) -> EmbeddingRequest:
    """Raises ApiError."""
    asked = validate(EmbeddingRequest, body)
    if asked.model != manifest.name:
        message = f"model {quoted(asked.model)} is not here; send {quoted(manifest.name)}."
        raise ApiError(400, "invalid_request", message, "model")
    if asked.dimensions not in (None, manifest.dimension):
        message = (
            f"dimensions is {asked.dimensions}; this model's embeddings have {manifest.dimension}"
            " numbers. Send that, or leave it out."
        )
        raise ApiError(400, "invalid_request", message, "dimensions")
    # The longest number in JSON; or four characters for three of a float's bytes.
    one = 100 + manifest.dimension * (26 if asked.encoding_format == "float" else 6)
    if (fit := MAX_ANSWER_BYTES // one) < len(asked.input):
        message = (
            f"The answer to {len(asked.input)} entries could be too large; at most {fit} fit. Send"
            " fewer at once, or take base64."
        )
        raise ApiError(400, "answer_too_large", message, "input")
    return asked


def embeddings(
    asked: EmbeddingRequest, vectors: Sequence[NDArray[np.float32]], tokens: int
) -> JsonObject:
    def encoded(vector: NDArray[np.float32]) -> Any:
        if asked.encoding_format == "float":
            return vector.tolist()
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()

    data = [
        {"object": "embedding", "index": i, "embedding": encoded(vector)}
        for i, vector in enumerate(vectors)
    ]
    return {
        "object": "list",
        "data": data,
        "model": asked.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def error(err: ApiError) -> JsonObject:
    kind = "invalid_request_error" if err.status < 500 else "server_error"
    return {"error": {"message": err.message, "type": kind, "param": err.field, "code": err.code}}
