"""OpenAI's embeddings: of texts and of images.

https://platform.openai.com/docs/api-reference/embeddings
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from classifier.api.body import Body
from classifier.api.openai import IMAGE_URI, URI, OpenAI, decode_image_uri
from classifier.contract.bundle import BundleManifest
from classifier.contract.errors import ApiError, quoted
from classifier.contract.limits import MAX_ANSWER_BYTES, MAX_PROMPTS
from classifier.contract.request.fields import ApiModel, max_entries, reject_replacement_character
from classifier.contract.request.validation import validate
from classifier.contract.strict_json import JsonObject


def _embedded(value: object) -> list[str | bytes]:
    """Texts, and images as bytes."""
    items = value if isinstance(value, list) else [value]
    if not items:
        raise PydanticCustomError(
            "custom", "is empty; send a text, an image as a data: URI, or a list of them."
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
                "custom", "must be a text, an image as a data: URI, or a list of them."
            )
        if any("\ud800" <= character <= "\udfff" for character in item[:1000]):
            raise PydanticCustomError(
                "custom", "has half of a surrogate pair; send whole characters."
            )
        found.append(
            decode_image_uri(item) if IMAGE_URI.match(item) else reject_replacement_character(item)
        )
    return found


_TEXT: JsonObject = {"type": "string", "minLength": 1, "format": "label"}
_EMBEDDED: JsonObject = {
    "anyOf": [
        _TEXT,
        URI,
        {"type": "array", "items": {"anyOf": [_TEXT, URI]}, "minItems": 1, "maxItems": 64},
    ]
}


class EmbeddingRequest(ApiModel):
    """OpenAI's form, for texts and images."""

    input: Annotated[
        list[str | bytes],
        PlainValidator(_embedded),
        max_entries(MAX_PROMPTS),
        WithJsonSchema(_EMBEDDED),
    ] = Field(
        description=(
            "A text, an image as a `data:` URI, or a list of them; arrays of token ids are refused."
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
    """The texts' tokens; images have none."""

    prompt_tokens: int
    total_tokens: int


class Embeddings(ApiModel):
    object: Literal["list"]
    data: list[Embedded]
    model: str
    usage: Usage


class OpenAIEmbeddings(OpenAI):
    def __init__(self, manifest: BundleManifest) -> None:
        self._manifest = manifest

    def read(self, body: Body, parameters: Mapping[str, Sequence[str]]) -> EmbeddingRequest:
        manifest = self._manifest
        sent = validate(EmbeddingRequest, self.object_of(body))
        if sent.model != manifest.name:
            message = f"model {quoted(sent.model)} is not here; send {quoted(manifest.name)}."
            raise ApiError(400, "invalid_request", message, "model")
        if sent.dimensions not in (None, manifest.dimension):
            message = (
                f"dimensions is {sent.dimensions}; this model's embeddings have"
                f" {manifest.dimension} numbers. Send that, or leave it out."
            )
            raise ApiError(400, "invalid_request", message, "dimensions")
        # The longest number in JSON; or four characters for three of a float's bytes.
        one = 100 + manifest.dimension * (26 if sent.encoding_format == "float" else 6)
        if (fit := MAX_ANSWER_BYTES // one) < len(sent.input):
            message = (
                f"The answer to {len(sent.input)} entries could be too large; at most {fit} fit."
                " Send fewer at once, or take base64."
            )
            raise ApiError(400, "answer_too_large", message, "input")
        return sent

    def write(
        self, query: EmbeddingRequest, answer: tuple[Sequence[NDArray[np.float32]], int]
    ) -> JsonObject:
        vectors, tokens = answer

        def encoded(vector: NDArray[np.float32]) -> Any:
            if query.encoding_format == "float":
                return vector.tolist()
            return base64.b64encode(vector.astype("<f4").tobytes()).decode()

        data = [
            {"object": "embedding", "index": i, "embedding": encoded(vector)}
            for i, vector in enumerate(vectors)
        ]
        return {
            "object": "list",
            "data": data,
            "model": query.model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
