"""OpenAI's moderations: a classification by a deployed classifier.

https://platform.openai.com/docs/api-reference/moderations
"""

import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from classifier.api.body import Body
from classifier.api.openai import IMAGE_URI, URI, OpenAI, decode_image_uri
from classifier.contract.errors import ApiError, quoted
from classifier.contract.request.fields import ApiModel, without_null
from classifier.contract.request.query import Query
from classifier.contract.request.validation import validate
from classifier.contract.strict_json import JsonObject
from classifier.engine.registry import Registry

_ONE_IMAGE = '[{"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,…"}}]'


def _moderated(value: object) -> bytes:
    """The one image of a moderation's input."""
    if isinstance(value, list) and len(value) > 1 and all(isinstance(item, dict) for item in value):
        raise PydanticCustomError(
            "custom",
            "has several entries, and OpenAI's form has one result for all; send one image a"
            " request.",
        )
    item = without_null(value[0] if isinstance(value, list) and len(value) == 1 else value)
    if isinstance(item, str) or (isinstance(item, dict) and item.get("type") == "text"):
        raise PydanticCustomError(
            "custom", f"is text; only images are judged here: send {_ONE_IMAGE}."
        )
    url = (
        item["image_url"]
        if isinstance(item, dict) and item.keys() == {"type", "image_url"}
        else None
    )
    url = without_null(url)
    url = url["url"] if isinstance(url, dict) and url.keys() == {"url"} else None
    if not isinstance(url, str) or item["type"] != "image_url":
        raise PydanticCustomError("custom", f"must be one image: {_ONE_IMAGE}.")
    if not IMAGE_URI.match(url):
        raise PydanticCustomError(
            "custom",
            "has an address, but nothing is fetched; send the image itself as"
            " data:image/jpeg;base64,….",
        )
    return decode_image_uri(url)


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
                "properties": {"url": URI},
                "required": ["url"],
                "additionalProperties": False,
            },
        },
    },
}


class ModerationRequest(ApiModel):
    """OpenAI's form, for one image."""

    input: Annotated[bytes, PlainValidator(_moderated), WithJsonSchema(_IMAGE_INPUT)] = Field(
        description="One image, as a `data:` URI; texts and addresses are refused."
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


class OpenAIModerations(OpenAI):
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def read(self, body: Body, parameters: Mapping[str, Sequence[str]]) -> Query:
        sent = validate(ModerationRequest, self.object_of(body))
        if self._registry.find(sent.model, "model").file.thresholds is None:
            message = (
                f"model {quoted(sent.model)} has no thresholds, so it can flag nothing; set them in"
                " its file, or fit them: make evaluate."
            )
            raise ApiError(400, "invalid_request", message, "model")
        return Query(
            images=[sent.input],
            classifier=sent.model,
            field_names={"image_data": "input", "classifier": "model"},
        )

    def write(self, query: Query, answer: JsonObject) -> JsonObject:
        flagged = {entry["name"] for entry in answer["decision"]["labels"]}
        scores = answer["result"]
        result = {
            "flagged": bool(flagged),
            "categories": {name: name in flagged for name in scores},
            "category_scores": scores,
            "category_applied_input_types": {name: ["image"] for name in scores},
        }
        return {"id": f"modr-{uuid.uuid4().hex}", "model": query.classifier, "results": [result]}
