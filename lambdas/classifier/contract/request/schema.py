"""A request in the API's own dialect: its fields, and which of them go together."""

from typing import Annotated, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)

from classifier.contract.limits import (
    MAX_SQUARES,
)
from classifier.contract.request.fields import (
    CLASSIFIER_NAME,
    ApiModel,
)
from classifier.contract.request.image_fields import ImageFields
from classifier.contract.request.label_spec import LabelSpec
from classifier.contract.strict_json import JsonObject


def _whole_number(value: object) -> object:
    # JSON has one kind of number: 3.0 is as whole as 3.
    return int(value) if isinstance(value, float) and value.is_integer() else value


class OutputFields(ApiModel):
    classifier: Annotated[str, StringConstraints(pattern=CLASSIFIER_NAME)] | None = Field(
        None,
        description=(
            "The name of a deployed classifier, instead of `labels` or `categories` and all that"
            " goes with them. `GET /classifiers` lists them. The answer has a `decision` if it"
            " has thresholds."
        ),
    )
    regions: Annotated[int, Field(ge=2, le=4), BeforeValidator(_whole_number)] | None = Field(
        None,
        description=(
            "2, 3 or 4: also answer for the squares of such a grid, 2 x 2 to 4 x 4, that overlap"
            ' and cover the image: `regions: [{"box": [left, top, width, height], "result":'
            " {…}}, …]`, row by row, in fractions of the upright image, with the names that"
            f" `result` keeps. At most {MAX_SQUARES} images and squares in all. Not with `fit:"
            " tiles` or `image_embedding`."
        ),
    )
    regions_combine: Literal["whole", "max"] = Field(
        "whole",
        description=(
            "With `regions`: `result` is of the `whole` image; with `multi_label` too, `max`"
            " makes each probability the best of the whole and its regions, so that a small thing"
            " counts."
        ),
    )
    min_probability: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="Drop less likely labels; the rest comes best first."
    )
    top_k: Annotated[int, Field(ge=1), BeforeValidator(_whole_number)] | None = Field(
        None, description="Keep the best k, best first."
    )
    embedding: bool = Field(False, description="Also give the image's normalised vector.")
    details: bool = Field(
        False,
        description="Also give `similarities` (the cosine of every prompt), `model` and `image`.",
    )


NOT_WITH_CLASSIFIER = ("regions_combine", *LabelSpec.model_fields)


# A field that is left out; null means the same.
ABSENT: JsonObject = {"type": "null"}
PRESENT: JsonObject = {"not": ABSENT}


def requires_without(name: str, *excluded: str) -> JsonObject:
    absent = {other: ABSENT for other in excluded if other != name}
    return {"required": [name], "properties": {name: PRESENT, **absent}}


def absent_or(name: str, rule: JsonObject) -> JsonObject:
    return {"anyOf": [{"properties": {name: ABSENT}}, rule]}


# Rules about labels and categories, and about fields that need one of them or neither. They hold
# for a classifier's file too.
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
