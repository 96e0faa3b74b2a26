"""Classifiers' files: a question, its thresholds, and the model and question that they were fitted
on. Needs the standard library and pydantic alone.
"""

import array
import sys
from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

from classifier.contract.base64 import from_base64
from classifier.contract.classifiers.decision import check_thresholds
from classifier.contract.errors import ApiError
from classifier.contract.request.fields import ApiModel
from classifier.contract.request.label_spec import LabelSpec
from classifier.contract.request.schema import (
    BY_CATEGORIES,
    BY_LABELS,
    WITH_MULTI_LABEL,
    absent_or,
    requires_without,
)
from classifier.contract.request.validation import check_question, validate

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class ClassifierError(Exception):
    """A classifier's file that can't be used; the message names the file and what to do. ASCII
    alone, as Lambda's runtime wants it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.encode("ascii", "backslashreplace").decode())


class FittedOn(ApiModel):
    """The model and the question that thresholds and head were fitted on. They don't hold for
    another model or question.
    """

    model: str = Field(description="The model's name, for people.")
    fingerprint: Sha256 = Field(description="The model's, as `details` gives it.")
    question: Sha256 = Field(description="The sha256 of the question in its canonical form.")


class Head(ApiModel):
    """Learned vectors that replace the prompts' embeddings. All steps after the products with them
    are the same as for words.

    For a normalised image embedding x and vectors W the logits are scale · W x, instead of
    logit_scale · T x with the prompts' embeddings T. So a head with W = T and scale = logit_scale
    gives the words' own answer, to the last bit.
    """

    vectors: str = Field(
        description=(
            "W, float32, little-endian, [n, d], in base64. One row for each label, or each"
            " category's prompts, in order; with multi_label then one for each negative: as many"
            " again, or one if negative_template has no {}, or none for a model that judges each"
            " label alone (SigLIP)."
        )
    )
    scale: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] = Field(
        description="The factor that the products are multiplied by."
    )
    learned_from: list[Sha256] = Field(
        default_factory=list,
        description=(
            "The sha256 of each image that it learned from. These images can't be used to"
            " evaluate it."
        ),
    )

    def floats(self) -> "array.array[float]":
        """The rows one after the other. Raises ValueError for a text that isn't base64 of whole
        floats.
        """
        values = array.array("f", from_base64(self.vectors))
        if sys.byteorder == "big":
            values.byteswap()
        return values


class ClassifierFile(LabelSpec):
    """A file classifiers/NAME.json: the question, its thresholds, and vectors that were learned."""

    model_config = ConfigDict(
        json_schema_extra={
            "allOf": [
                {"anyOf": [BY_LABELS, BY_CATEGORIES]},
                absent_or("negative_template", WITH_MULTI_LABEL),
                absent_or("head", requires_without("fitted_on")),
            ],
        }
    )

    description: Annotated[str, StringConstraints(min_length=1, max_length=1000)] | None = Field(
        None, description="What it is for, in a sentence or two; `GET /classifiers` shows it."
    )
    fitted_on: FittedOn | None = Field(
        None,
        description=(
            "The model and the question that thresholds or head were fitted on. Without it, the"
            " thresholds were set by hand."
        ),
    )
    head: Head | None = Field(None, description="Vectors learned from examples; needs `fitted_on`.")


def parse_classifier(value: object) -> ClassifierFile:
    """Raises ApiError."""
    if not isinstance(value, dict):
        raise ApiError(400, "invalid_request", "A classifier is a JSON object.")
    file = validate(ClassifierFile, value)
    check_question(file)
    check_thresholds(file)
    if file.head and not file.fitted_on:
        raise ApiError(
            400,
            "invalid_request",
            "head needs fitted_on, the model and the question that it learned from; send it, or"
            " remove head.",
            "head",
        )
    return file
