"""Responses: their fields and descriptions."""

from typing import Annotated, Literal

from pydantic import Field

from classifier.contract.request.fields import ApiModel, Threshold

Probability = Annotated[float, Field(ge=0, le=1)]


class ModelDetails(ApiModel):
    name: str
    tag: str | None
    fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] = Field(
        description=(
            "The sha256 of everything that an embedding depends on. Embeddings and thresholds of"
            " different fingerprints can't be compared."
        )
    )
    precision: dict[str, str]
    logit_scale: float
    logit_bias: float | None = Field(
        None,
        description=(
            "With `multi_label` a probability of this model is the sigmoid of logit_scale times"
            " the cosine, plus this. Absent for a model that takes negatives."
        ),
    )


class ImageDetails(ApiModel):
    """The image as sent, before any turning, shrinking or cropping."""

    format: str
    width: int
    height: int
    converted_from: str | None = Field(
        None, description="The colour space of the file, if it wasn't shown as sRGB."
    )
    ignored: str | None = Field(
        None,
        description=(
            "The part of the file that was ignored, such as a colour profile that is too large."
        ),
    )


class Region(ApiModel):
    """Left, top, width and height in fractions of the upright image, and the answer for that part
    alone.
    """

    box: Annotated[list[Probability], Field(min_length=4, max_length=4)]
    result: dict[str, Probability]


class MatchedLabel(ApiModel):
    """A name whose probability reached a threshold. `action` is the strictest action whose
    threshold it reached.
    """

    name: str
    probability: Probability
    threshold: Probability
    action: str | None


class Decision(ApiModel):
    """Every name that reached a threshold, best first, and the strictest action of them all, or
    null.
    """

    labels: list[MatchedLabel]
    action: str | None


class Result(ApiModel):
    """The answer for one image, without the fields that weren't asked for."""

    result: dict[str, Probability]
    decision: Decision | None = None
    regions: list[Region] | None = None
    embedding: list[float] | None = None
    similarities: dict[str, float] | None = None
    model: ModelDetails | None = None
    image: ImageDetails | None = None


class ErrorBody(ApiModel):
    """`message` says what was wrong and what would be right; in Hugging Face's form `error` repeats
    it.
    """

    message: str
    code: str
    field: str | None = None
    error: str | None = None


class ImageError(ApiModel):
    error: ErrorBody


class Results(ApiModel):
    results: list[Result | ImageError]


class Score(ApiModel):
    label: str
    score: Probability


class ClassifierInfo(ApiModel):
    """A deployed classifier and its question. `labels`: the names in its answers, which are those
    of its `categories` if it has any; `without_threshold`: those that a `decision` can never name,
    since only others have a threshold; `fitted`: whether its thresholds were fitted on images, on
    this very model, rather than set by hand; `learned`: whether it learned from examples.
    """

    name: str
    description: str | None
    labels: list[str]
    categories: dict[str, list[str]] | None
    combine: str
    templates: list[str]
    multi_label: bool
    negative_template: str | None
    fit: str | None
    actions: list[str] | None
    thresholds: dict[str, Threshold] | None
    min_similarity: float | None
    without_threshold: list[str]
    fitted: bool
    learned: bool
    scoring: Literal["softmax", "negatives", "sigmoid"] = Field(
        description=(
            "What a probability means. `softmax`: the share among the labels. With `multi_label`"
            " each label is judged alone: `negatives` against its negative, `sigmoid` by the"
            " model's own sigmoid (SigLIP's), which says whether the text belongs to the image"
            " among all texts, is often low for a right label, and takes no negatives."
        )
    )


class Classifiers(ApiModel):
    classifiers: list[ClassifierInfo]


class Health(ApiModel):
    """`version`: the project's; `languages`: of labels, null if the model's authors don't say."""

    status: Literal["ok"]
    model: str
    version: str
    languages: list[str] | None
