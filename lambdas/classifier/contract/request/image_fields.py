"""The fields that hold images, and places of images in the bucket."""

from typing import Annotated, Any

from pydantic import (
    ConfigDict,
    Field,
    PlainValidator,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from classifier.contract.base64 import NOT_BASE64, from_base64
from classifier.contract.limits import (
    MAX_DIMENSION,
    MAX_IMAGES,
)
from classifier.contract.request.fields import (
    ApiModel,
    max_entries,
    without_null,
)
from classifier.contract.strict_json import JsonObject


def _decode_or_none(value: object) -> bytes | None:
    # Of several images, one that isn't base64 must not fail the others.
    if not isinstance(value, str):
        raise PydanticCustomError("custom", "must be a string: the image file in base64.")
    try:
        return from_base64(value)
    except ValueError:
        return None


def decode(value: object) -> bytes:
    file = _decode_or_none(value)
    if file is None:
        raise PydanticCustomError("custom", NOT_BASE64)
    return file


class StoredImage(ApiModel):
    """An image in the deployment's bucket."""

    model_config = ConfigDict(frozen=True)

    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
    key: str = Field(min_length=1, max_length=1024)


def _decode_or_stored(value: object) -> bytes | StoredImage | None:
    if not isinstance(value, dict):
        return _decode_or_none(value)
    entry: JsonObject = without_null(value)
    stored = without_null(entry.get("image_s3"))
    if entry.keys() != {"image_s3"} or not isinstance(stored, dict) or stored.keys() != {"key"}:
        raise PydanticCustomError(
            "custom", 'must be a string, the image file in base64, or {"image_s3": {"key": "…"}}.'
        )
    return StoredImage.model_validate(stored)


BASE64_SCHEMA: dict[str, Any] = {"type": "string", "contentEncoding": "base64", "format": "image"}
Image = Annotated[bytes, PlainValidator(decode), WithJsonSchema(BASE64_SCHEMA)]
_STORED_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"image_s3": StoredImage.model_json_schema()},
    "required": ["image_s3"],
    "additionalProperties": False,
}
ImageOrNone = Annotated[
    bytes | StoredImage | None,
    PlainValidator(_decode_or_stored),
    WithJsonSchema({"anyOf": [BASE64_SCHEMA, _STORED_SCHEMA]}),
]


class ImageFields(ApiModel):
    image_data: Image | None = Field(
        None,
        description=(
            "One image file in base64: standard or URL-safe alphabet, white space and a `data:`"
            " prefix are fine."
        ),
    )
    images: (
        Annotated[
            list[ImageOrNone], Field(min_length=1, max_length=MAX_IMAGES), max_entries(MAX_IMAGES)
        ]
        | None
    ) = Field(
        None,
        description=(
            f'1 to {MAX_IMAGES} image files. The answer is `{{"results": [{{"result": …}} or'
            ' {"error": …}, …]}`, one entry for each, in order; a bad image fails only its own'
            ' entry. `{"image_s3": {"key": "…"}}` can replace a file.'
        ),
    )
    image_s3: StoredImage | None = Field(
        None,
        description=(
            '`{"key": "…"}`: a file of at most 50 MB in the deployment\'s bucket, under its'
            " `bulk_prefix`, instead of `image_data`. Only if the deployment has a bucket."
        ),
    )
    image_embedding: (
        Annotated[
            list[Annotated[float, Field(allow_inf_nan=False)]],
            Field(fail_fast=True),
            max_entries(MAX_DIMENSION),
        ]
        | None
    ) = Field(
        None,
        description=(
            "The vector that an earlier answer gave, instead of the image: new labels without"
            " sending or encoding it again."
        ),
        json_schema_extra={"format": "embedding"},
    )
