"""Kinds of fields: texts, thresholds and lists of them, with their checks and JSON Schemas."""

import re
from typing import Annotated, Any, Literal
from urllib.parse import unquote

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
from classifier.contract.limits import (
    MAX_ACTION_CHARACTERS,
    MAX_CHARACTERS,
    MAX_LABELS,
)

SLOT = "{}"
# The default of negative_template.
NEGATIVE = "no {}"
CLASSIFIER_NAME = r"^[a-z0-9][a-z0-9_-]{0,63}$"
# The replacement character, which stands for bytes that were not UTF-8.
LOST_CHARACTER = "\ufffd"
# Percent-encoding of white space, punctuation or a character outside ASCII. "100%acrylic" has none.
_ENCODED = re.compile(
    r"%0[9ad]|%2[0-9a-f]|%3[a-f]|%5[b-e]|%7[b-d]|%[c-f][0-9a-f]%[89ab][0-9a-f]", re.IGNORECASE
)


def without_null(value: Any) -> Any:
    """Serialisers of typed languages write null for a field that was left out."""
    if not isinstance(value, dict):
        return value
    return {name: item for name, item in value.items() if item is not None}


class ApiModel(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)

    _without_null = model_validator(mode="before")(without_null)


def max_entries(maximum: int) -> BeforeValidator:
    """Checks the size before the elements, since each of a million wrong elements would become an
    error.
    """

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
            "custom", "has U+FFFD, which stands for bytes that were not UTF-8; send UTF-8."
        )
    return text


def reject_encoded(text: str) -> str:
    """A label in a URL is percent-encoded once. If it is encoded twice, the model would read the
    rest as words.
    """
    if "%" in text and _ENCODED.search(text):
        raise PydanticCustomError("custom", encoded_twice(text, unquote(text)))
    return text


def encoded_twice(text: str, decoded: str) -> str:
    """The end of a message about a text that is still encoded."""
    return f"is encoded for a URL, {quoted(text)}; send it decoded, {quoted(decoded)}."


def _template(text: str) -> str:
    if text.count(SLOT) != 1:
        raise PydanticCustomError("custom", "needs exactly one {}, where the label goes.")
    return text


def _threshold(value: object) -> float | dict[str, float]:
    """By hand, since pydantic reports an error for each member of a union."""
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
            "must be a probability from 0 to 1, or, with actions, an object with one for each"
            " action.",
        )
    return float(value)


# The tokenizer refuses a longer label, with a code of its own.
Label = Annotated[
    str,
    StringConstraints(min_length=1),
    AfterValidator(reject_replacement_character),
    AfterValidator(reject_encoded),
    Field(json_schema_extra={"format": "label"}),
]
Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_CHARACTERS),
    AfterValidator(reject_replacement_character),
    AfterValidator(reject_encoded),
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
    AfterValidator(reject_encoded),
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
