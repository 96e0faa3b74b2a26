"""Requests and responses: their fields, limits and descriptions."""

import binascii
import re
from typing import Annotated, Any, Literal
from urllib.parse import unquote, unquote_to_bytes

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError, PydanticKnownError

from classifier.contract.errors import quoted

MAX_LABELS = 1000
MAX_IMAGES = 64
MAX_TEMPLATES = 100
MAX_ACTIONS = 10
MAX_ACTION_CHARACTERS = 100
# What one request with `regions` may have encoded: every image and each square of its grid.
MAX_SQUARES = 200
MAX_PROMPTS = 2000
# A text that fits the context is far shorter. Categories' names and templates may be as long.
MAX_CHARACTERS = 1_000
# Cleaning takes up to 5 µs a character and 35 µs a line (measured on two cores of an AMD EPYC).
# These count every label and negative, in every template.
MAX_TOTAL_CHARACTERS = 300_000
MAX_TOTAL_LINES = 10_000
# The largest embeddings of open_clip's models have 1,280 numbers.
MAX_DIMENSION = 4_096
# Lambda fails on a response over 6 MB, after all the work was done.
MAX_ANSWER_BYTES = 5_500_000
# Of a picture that is read from S3, and of all that one request reads.
MAX_OBJECT_BYTES = 50_000_000
MAX_READ_BYTES = 60_000_000
# Where a bucket holds what is ours, beside the pictures.
RESULTS = "results/"
MANIFESTS = "manifests/"
MAP_RUNS = "map-runs/"
EVENT_SOURCE = "clip-classifier"
SLOT = "{}"
# The default of negative_template.
NEGATIVE = "no {}"
CLASSIFIER_NAME = r"^[a-z0-9][a-z0-9_-]{0,63}$"
# By Pillow's names. A file's content tells its format, whatever its content type says.
IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF")
# The content types of a body that is an image: by their registered names, and as some clients call
# them.
IMAGE_TYPES = (
    *(f"image/{name.lower()}" for name in IMAGE_FORMATS),
    *(f"image/{name}" for name in ("jpg", "pjpeg", "x-png")),
    "application/octet-stream",
    "binary/octet-stream",
)
# What curl says where nobody names the type: an image is taken, a form is not.
FORM_TYPE = "application/x-www-form-urlencoded"
# What API Gateway must pass on as bytes: with any other type they arrive as text, and an image is
# lost; with */* JSON would arrive in base64. Those that are refused are listed too, so that the
# refusal can say what the bytes are.
BINARY_TYPES = (
    *IMAGE_TYPES,
    FORM_TYPE,
    "multipart/form-data",
    *(f"image/{name}" for name in ("heic", "heif", "tiff", "jxl", "jp2", "svg+xml")),
)
# The replacement character: what is left of bytes that were not UTF-8.
LOST_CHARACTER = "\ufffd"
JsonObject = dict[str, Any]
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_DATA_URI = re.compile(r"\s*data:", re.IGNORECASE)
# Neither character occurs in base64, so whatever parameters stand before it, this ends them.
_BASE64_MARK = re.compile(r";\s*base64\s*,", re.IGNORECASE)
# Percent-encoding of white space, punctuation or a character outside ASCII. "100%acrylic" has none.
_ENCODED = re.compile(r"%0[9ad]|%2[0-9a-f]|%3[a-f]|%[c-f][0-9a-f]%[89ab][0-9a-f]", re.IGNORECASE)


def from_base64(text: str) -> bytes:
    """Accepts standard and URL-safe base64, padded or not, with white space, and a data: URI with
    any parameters.

    Raises ValueError for anything else.
    """
    mark = _BASE64_MARK.search(text) if _DATA_URI.match(text) else None
    encoded = text[mark.end() if mark else 0 :].encode("ascii")
    try:
        # Nearly all callers send this form, and on 6 MB each further pass takes milliseconds.
        return binascii.a2b_base64(encoded, strict_mode=True)
    except binascii.Error:
        if mark:
            # A URI may hold +, / and = percent-encoded.
            encoded = unquote_to_bytes(encoded)
        encoded = encoded.translate(_URL_SAFE, b" \t\r\n\f\v")
        if b"=" not in encoded[-2:]:
            encoded += b"=" * (-len(encoded) % 4)
        return binascii.a2b_base64(encoded, strict_mode=True)


NOT_BASE64 = (
    "is not base64; encode the image file's bytes, for instance with: base64 < FILE. In Python"
    " decode it to text, base64.b64encode(data).decode(), which leaves out b'…'. Addresses are not"
    " fetched."
)


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


class ApiModel(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _without_null(cls, value: object) -> object:
        """Serialisers of typed languages write null for a field that was left out."""
        if not isinstance(value, dict):
            return value
        return {name: item for name, item in value.items() if item is not None}


class StoredImage(ApiModel):
    """A picture in the deployment's bucket."""

    model_config = ConfigDict(frozen=True)

    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
    key: str = Field(min_length=1, max_length=1024)


def _decode_or_stored(value: object) -> bytes | StoredImage | None:
    if not isinstance(value, dict):
        return _decode_or_none(value)
    stored = value.get("image_s3")
    if value.keys() != {"image_s3"} or not isinstance(stored, dict) or stored.keys() != {"key"}:
        raise PydanticCustomError(
            "custom", 'must be a string, the image file in base64, or {"image_s3": {"key": "…"}}.'
        )
    return StoredImage.model_validate(stored)


def max_entries(maximum: int) -> BeforeValidator:
    """Checks a size before the elements: of a million wrong ones each would become an error."""

    def check(value: object) -> object:
        if isinstance(value, list | dict) and len(value) > maximum:
            raise PydanticKnownError(
                "too_long",
                {"field_type": "List", "max_length": maximum, "actual_length": len(value)},
            )
        return value

    return BeforeValidator(check)


def reject_replacement_character(text: str) -> str:
    if LOST_CHARACTER in text:
        raise PydanticCustomError(
            "custom", "has U+FFFD, what is left of a character that was not UTF-8; send UTF-8."
        )
    return text


def _reject_encoded(text: str) -> str:
    """A label may be percent-encoded in a URL, once; the model would read what is left as words."""
    if "%" in text and _ENCODED.search(text):
        raise PydanticCustomError("custom", encoded_twice(text, unquote(text)))
    return text


def encoded_twice(text: str, decoded: str) -> str:
    """The end of a message about a text whose encoding is still in it."""
    return f"is encoded for a URL, {quoted(text)}; send it decoded, {quoted(decoded)}."


def _template(text: str) -> str:
    if text.count(SLOT) != 1:
        raise PydanticCustomError("custom", "needs exactly one {}, where the label goes.")
    return text


def _negative_template(text: str) -> str:
    if text.count(SLOT) > 1:
        raise PydanticCustomError(
            "custom", "has {} more than once; use it at most once, where the label goes."
        )
    return text


def _whole_number(value: object) -> object:
    # JSON has one kind of number: 3.0 is as whole as 3.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _threshold(value: object) -> float | dict[str, float]:
    """A union of the two would be told as two errors."""
    if isinstance(value, dict):
        if not value:
            raise PydanticCustomError(
                "custom", 'is empty; give each action a probability: {"review": 0.4}.'
            )
        return {str(action): _probability(p) for action, p in value.items()}
    return _probability(value)


def _probability(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise PydanticCustomError(
            "custom",
            "must be a probability from 0 to 1, or with actions an object of them, one an action.",
        )
    return float(value)


def _unique_actions(actions: list[str]) -> list[str]:
    if len(set(actions)) < len(actions):
        raise PydanticCustomError(
            "custom", "has the same action twice; name each once, the mildest first."
        )
    return actions


def _unique(texts: list[str]) -> list[str]:
    if len(set(texts)) < len(texts):
        raise PydanticCustomError("custom", "has the same template twice; send each once.")
    return texts


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
# The tokenizer refuses a longer label, with a code of its own.
Label = Annotated[
    str,
    StringConstraints(min_length=1),
    AfterValidator(reject_replacement_character),
    AfterValidator(_reject_encoded),
    Field(json_schema_extra={"format": "label"}),
]
Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_CHARACTERS),
    AfterValidator(reject_replacement_character),
    AfterValidator(_reject_encoded),
    Field(json_schema_extra={"format": "label"}),
]
Labels = Annotated[
    list[Label],
    Field(
        min_length=1, max_length=MAX_LABELS, fail_fast=True, json_schema_extra={"uniqueItems": True}
    ),
    max_entries(MAX_LABELS),
]
Template = Annotated[
    str,
    StringConstraints(max_length=MAX_CHARACTERS),
    AfterValidator(reject_replacement_character),
    AfterValidator(_reject_encoded),
    AfterValidator(_template),
    Field(json_schema_extra={"format": "template", "minLength": len(SLOT)}),
]
_SHARE_SCHEMA: dict[str, Any] = {"type": "number", "minimum": 0, "maximum": 1}
Threshold = Annotated[
    float | dict[str, float],
    PlainValidator(_threshold),
    WithJsonSchema(
        {
            "anyOf": [
                _SHARE_SCHEMA,
                {"type": "object", "additionalProperties": _SHARE_SCHEMA, "minProperties": 1},
            ]
        }
    ),
]
Action = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_ACTION_CHARACTERS),
    AfterValidator(reject_replacement_character),
]
Fit = Literal["crop", "pad", "squash", "tiles"]


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
            ' entry. `{"image_s3": {"key": "…"}}` may stand in a file\'s place.'
        ),
    )
    image_s3: StoredImage | None = Field(
        None,
        description=(
            '`{"key": "…"}`: a file of at most 50 MB in the deployment\'s bucket, under its'
            " `bulk_prefix`, in `image_data`'s place. Only where the deployment has a bucket."
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


class LabelSpec(ApiModel):
    """What to look for, and from which probability on a name counts. A request has these fields,
    and a classifier's file.
    """

    labels: Labels | None = Field(
        None,
        description=(
            f'1 to {MAX_LABELS:,} texts to choose from, no two the same to the model (`"Cat"` and'
            ' `"cat "` are), each at most as long as the model reads (75 tokens for CLIP). A'
            " single label may hold no comma, semicolon, bar, tab or line break: it usually is"
            " several labels joined by mistake."
        ),
    )
    categories: (
        Annotated[
            dict[Name, Labels], Field(min_length=1, max_length=MAX_LABELS), max_entries(MAX_LABELS)
        ]
        | None
    ) = Field(
        None,
        description=(
            '`{"gaming": ["a thumbnail of a casual gaming stream", …], …}`: several prompts for one'
            " answer. `result` is by category, in order. A prompt stands in one category only."
        ),
    )
    combine: Literal["sum", "max"] = Field(
        "sum",
        description=(
            "With `categories`: `sum` adds its prompts' probabilities; `max` is a softmax over each"
            " category's best prompt, so that more prompts are no advantage."
        ),
    )
    templates: Annotated[
        list[Template],
        Field(
            min_length=1,
            max_length=MAX_TEMPLATES,
            fail_fast=True,
            json_schema_extra={"uniqueItems": True},
        ),
        max_entries(MAX_TEMPLATES),
        AfterValidator(_unique),
    ] = Field(
        [SLOT],
        description=(
            f"1 to {MAX_TEMPLATES} sentences with one `{{}}`, for every label or prompt; their"
            " embeddings are averaged."
        ),
    )
    multi_label: bool = Field(
        False,
        description=(
            "Judge every label alone, present against absent; probabilities don't sum to 1. A"
            " category gets its best prompt's."
        ),
    )
    negative_template: Annotated[
        str,
        StringConstraints(min_length=1, max_length=MAX_CHARACTERS),
        AfterValidator(reject_replacement_character),
        AfterValidator(_reject_encoded),
        AfterValidator(_negative_template),
        Field(json_schema_extra={"format": "negative template"}),
    ] = Field(
        NEGATIVE,
        description=(
            "With `multi_label`: what stands for absence; goes through the same templates. Without"
            " `{}` one text serves all."
        ),
    )
    fit: Fit | None = Field(
        None,
        description=(
            "How a picture that isn't square is seen: `crop` its centre, `pad` it, `squash` it, or"
            " in `tiles`: two or three squares along the long side, embeddings averaged. Default:"
            " as the model was trained, which is `crop` for CLIP."
        ),
    )
    actions: (
        Annotated[
            list[Action],
            Field(
                min_length=1,
                max_length=MAX_ACTIONS,
                fail_fast=True,
                json_schema_extra={"uniqueItems": True},
            ),
            max_entries(MAX_ACTIONS),
            AfterValidator(_unique_actions),
        ]
        | None
    ) = Field(
        None,
        description=(
            f"With `thresholds`: 1 to {MAX_ACTIONS} names of what is to be done, mildest first,"
            ' such as `["review", "block"]`.'
        ),
    )
    thresholds: (
        Annotated[dict[Name, Threshold], Field(min_length=1), max_entries(MAX_LABELS)] | None
    ) = Field(
        None,
        description=(
            "From which probability on a label or category counts: `{name: p}`, or with `actions`"
            " `{name: {action: p}}`, a stricter action's at least a milder one's. The answer then"
            " has a `decision`. Names without one never count. A label alone needs `multi_label`."
        ),
    )
    min_similarity: Annotated[float, Field(ge=-1, le=1)] | None = Field(
        None,
        description=(
            "With `thresholds`: where the largest cosine of all labels' prompts is below it, the"
            " picture is none of these, and no name counts."
        ),
    )


class OutputFields(ApiModel):
    classifier: Annotated[str, StringConstraints(pattern=CLASSIFIER_NAME)] | None = Field(
        None,
        description=(
            "The name of a deployed classifier, instead of `labels` or `categories` and all that"
            " goes with them. `GET /classifiers` lists them. The answer has a `decision` where it"
            " has thresholds."
        ),
    )
    regions: Annotated[int, Field(ge=2, le=4), BeforeValidator(_whole_number)] | None = Field(
        None,
        description=(
            "2, 3 or 4: also answer for the squares of such a grid, 2 x 2 to 4 x 4, that overlap"
            ' and cover the picture: `regions: [{"box": [left, top, width, height], "result":'
            " {…}}, …]`, row by row, in fractions of the upright picture, with the names that"
            f" `result` keeps. At most {MAX_SQUARES} pictures and squares in all. Not with `fit:"
            " tiles` or `image_embedding`."
        ),
    )
    regions_combine: Literal["whole", "max"] = Field(
        "whole",
        description=(
            "With `regions`: `result` is of the `whole` picture; with `multi_label` too, `max`"
            " makes each probability the best of the whole and its regions, so that a small thing"
            " counts."
        ),
    )
    min_probability: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="Drop what is less likely; the rest comes best first."
    )
    top_k: Annotated[int, Field(ge=1), BeforeValidator(_whole_number)] | None = Field(
        None, description="Keep the best k, best first."
    )
    embedding: bool = Field(False, description="Also give the picture's normalised vector.")
    details: bool = Field(
        False,
        description="Also give `similarities` (the cosine of every prompt), `model` and `image`.",
    )


NOT_WITH_CLASSIFIER = ("regions_combine", *LabelSpec.model_fields)


# Of a field that is left out: null is the same.
ABSENT: JsonObject = {"type": "null"}
PRESENT: JsonObject = {"not": ABSENT}


def requires_without(name: str, *excluded: str) -> JsonObject:
    absent = {other: ABSENT for other in excluded if other != name}
    return {"required": [name], "properties": {name: PRESENT, **absent}}


def absent_or(name: str, rule: JsonObject) -> JsonObject:
    return {"anyOf": [{"properties": {name: ABSENT}}, rule]}


# What to look for: labels or categories, and what goes with neither or with one alone. The rules of
# a classifier's file too.
BY_LABELS = requires_without("labels", "categories", "combine", "classifier")
BY_CATEGORIES = requires_without("categories", "labels", "classifier") | {
    "anyOf": [
        {"properties": {"combine": {"enum": ["max", None]}}},
        {"properties": {"multi_label": {"enum": [False, None]}}},
    ]
}
WITH_MULTI_LABEL: JsonObject = {
    "required": ["multi_label"],
    "properties": {"multi_label": {"const": True}},
}


def _images_with_regions(count: int) -> JsonObject:
    images = {"maxItems": MAX_SQUARES // (count**2 + 1)}
    return {"required": ["regions"], "properties": {"regions": {"const": count}, "images": images}}


class ClassifyRequest(OutputFields, LabelSpec, ImageFields):
    """One image or several, and what to look for in them."""

    model_config = ConfigDict(
        json_schema_extra={
            "allOf": [
                {
                    "oneOf": [
                        *(requires_without(name) for name in ("image_data", "images", "image_s3")),
                        requires_without("image_embedding", "fit", "regions"),
                    ]
                },
                {
                    "anyOf": [
                        BY_LABELS,
                        BY_CATEGORIES,
                        requires_without("classifier", *NOT_WITH_CLASSIFIER),
                    ]
                },
                {
                    "not": {
                        "required": ["regions", "fit"],
                        "properties": {"regions": PRESENT, "fit": {"const": "tiles"}},
                    }
                },
                absent_or("actions", requires_without("thresholds")),
                absent_or("min_similarity", requires_without("thresholds")),
                absent_or("negative_template", WITH_MULTI_LABEL),
                {
                    "anyOf": [
                        {"properties": {"regions": ABSENT, "regions_combine": ABSENT}},
                        *map(_images_with_regions, (2, 3, 4)),
                    ]
                },
                {
                    "anyOf": [
                        {"properties": {"regions_combine": {"enum": ["whole", None]}}},
                        WITH_MULTI_LABEL,
                    ]
                },
            ],
        }
    )


# What the query may hold when the body is an image; lists are repeated parameters.
QUERY_LISTS = ("labels", "templates")
QUERY_TEXTS = ("classifier", "negative_template", "fit", "regions_combine")
QUERY_PARAMETERS = (
    *QUERY_LISTS,
    *QUERY_TEXTS,
    "multi_label",
    "regions",
    "min_probability",
    "top_k",
    "embedding",
    "details",
)

# What other APIs call our fields.
FIELD_ALIASES = dict.fromkeys(
    ("image", "image_base64", "base64", "img", "file"), "image_data"
) | dict.fromkeys(("candidate_labels", "classes", "texts", "prompts"), "labels")
