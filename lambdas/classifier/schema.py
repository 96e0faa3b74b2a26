"""The requests and answers of the HTTP contract: their fields, their limits, what each is for."""

import binascii
import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    PrivateAttr,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

MOST_LABELS = 1000
MOST_IMAGES = 64
MOST_TEMPLATES = 100
MOST_PROMPTS = 2000
MOST_PIXELS = 50_000_000
MOST_PIXELS_TOGETHER = 100_000_000
# Cleaning takes time by the character; a text that fits the context is far shorter.
MOST_CHARACTERS = 10_000
MOST_TEMPLATE_CHARACTERS = 1_000
# Lambda's answers end at 6 MB, after all the work was done.
MOST_ANSWER_BYTES = 5_500_000
SLOT = "{}"
JsonObject = dict[str, Any]
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_DATA_URI = re.compile(r"\s*data:[\w/.+-]*(;[\w=.+-]+)*;base64,", re.ASCII | re.IGNORECASE)


def from_base64(text: str) -> bytes:
    """Standard or URL-safe base64, padded or not, white space and a data: prefix taken away. Raises ValueError for anything else."""
    prefix = _DATA_URI.match(text[:200])
    encoded = text[prefix.end() if prefix else 0 :].encode("ascii")
    try:
        # Nearly all callers send it in just this form, and of 6 MB each further pass takes milliseconds.
        return binascii.a2b_base64(encoded, strict_mode=True)
    except binascii.Error:
        encoded = encoded.translate(_URL_SAFE, b" \t\r\n\f\v")
        if b"=" not in encoded[-2:]:
            encoded += b"=" * (-len(encoded) % 4)
        return binascii.a2b_base64(encoded, strict_mode=True)


NOT_BASE64 = "is not base64; encode the image file's bytes, for instance with: base64 -w0 FILE."


def _image(value: object) -> bytes:
    if not isinstance(value, str):
        raise PydanticCustomError("said", "must be a string: the image file in base64.")
    try:
        return from_base64(value)
    except ValueError as err:
        raise PydanticCustomError("said", NOT_BASE64) from err


def _template(text: str) -> str:
    if text.count(SLOT) != 1:
        raise PydanticCustomError("said", "needs exactly one {}, where the label goes.")
    return text


def _negative(text: str) -> str:
    if text.count(SLOT) > 1:
        raise PydanticCustomError("said", "holds {} more than once; at most one is taken, where the label goes.")
    return text


def _whole(value: object) -> object:
    # JSON knows one kind of number: 3.0 is as whole as 3.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _unique(texts: list[str]) -> list[str]:
    if len(set(texts)) < len(texts):
        raise PydanticCustomError("said", "holds the same template twice; send each once.")
    return texts


_BASE64_SCHEMA: dict[str, Any] = {"type": "string", "contentEncoding": "base64", "format": "image"}
Base64 = Annotated[bytes, PlainValidator(_image), WithJsonSchema(_BASE64_SCHEMA)]
Label = Annotated[str, StringConstraints(min_length=1), Field(json_schema_extra={"format": "label"})]
Labels = Annotated[list[Label], Field(min_length=1, max_length=MOST_LABELS, json_schema_extra={"uniqueItems": True})]
Template = Annotated[
    str,
    StringConstraints(max_length=MOST_TEMPLATE_CHARACTERS),
    AfterValidator(_template),
    Field(json_schema_extra={"format": "template", "minLength": len(SLOT)}),
]
Fit = Literal["crop", "pad", "squash", "tiles"]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Classify(Strict):
    """One picture or several, and what to look for in them."""

    model_config = ConfigDict(
        json_schema_extra={
            "allOf": [
                {"oneOf": [{"required": [name]} for name in ("image_data", "images", "image_embedding")]},
                {"oneOf": [{"required": [name]} for name in ("labels", "categories")]},
                {"not": {"required": ["fit", "image_embedding"]}},
                {
                    "not": {
                        "required": ["combine", "multi_label"],
                        "properties": {"combine": {"const": "sum"}, "multi_label": {"const": True}},
                    }
                },
            ],
            "dependentSchemas": {
                "combine": {"required": ["categories"]},
                "negative_template": {"required": ["multi_label"], "properties": {"multi_label": {"const": True}}},
            },
        }
    )

    image_data: Base64 | None = Field(
        None, description="One image file in base64: standard or URL-safe alphabet, white space and a `data:` prefix are fine."
    )
    images: Annotated[list[str], Field(min_length=1, max_length=MOST_IMAGES)] | None = Field(
        None,
        description=f'1 to {MOST_IMAGES} image files, answered with `{{"results": [{{"result": …}} or {{"error": …}}, …]}}`, one entry an image, in order; a '
        "bad image spoils only its own entry.",
        json_schema_extra={"items": _BASE64_SCHEMA},
    )
    image_embedding: list[Annotated[float, Field(allow_inf_nan=False)]] | None = Field(
        None,
        description="The vector that an earlier answer gave, instead of the image: new labels without sending or encoding it again.",
        json_schema_extra={"format": "embedding"},
    )
    labels: Labels | None = Field(
        None,
        description=f'1 to {MOST_LABELS:,} texts to choose from, no two the same to the model (`"Cat"` and `"cat "` are), each at most as long '
        "as the model reads (75 tokens for CLIP).",
    )
    categories: Annotated[dict[Label, Labels], Field(min_length=1, max_length=MOST_LABELS)] | None = Field(
        None,
        description='`{"gaming": ["a thumbnail of a casual gaming stream", …], …}`: several prompts for one answer. `result` is by category, in '
        "order. A prompt stands in one category only.",
    )
    combine: Literal["sum", "max"] = Field(
        "sum",
        description="With `categories`: `sum` adds its prompts' probabilities; `max` is a softmax over each category's best prompt, "
        "so that more prompts are no advantage.",
    )
    templates: Annotated[
        list[Template],
        Field(min_length=1, max_length=MOST_TEMPLATES, json_schema_extra={"uniqueItems": True}),
        AfterValidator(_unique),
    ] = Field(
        [SLOT],
        description=f"1 to {MOST_TEMPLATES} sentences with one `{{}}`, for every label or prompt; their embeddings are averaged.",
    )
    multi_label: bool = Field(
        False,
        description="Judge every label alone, present against absent; probabilities don't sum to 1. A category gets its best prompt's.",
    )
    negative_template: Annotated[
        str,
        StringConstraints(min_length=1, max_length=MOST_TEMPLATE_CHARACTERS),
        AfterValidator(_negative),
        Field(json_schema_extra={"format": "negative template"}),
    ] = Field(
        "no {}",
        description="With `multi_label`: what stands for absence; goes through the same templates. Without `{}` one text serves all.",
    )
    fit: Fit | None = Field(
        None,
        description="How a picture that isn't square is seen: `crop` its centre, `pad` it, `squash` it, or in `tiles`: two or three "
        "squares along the long side, embeddings averaged. Default: as the model was trained, which is `crop` for CLIP.",
    )
    min_probability: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="Drop what is less likely; the rest comes best first."
    )
    top_k: Annotated[int, Field(ge=1), BeforeValidator(_whole)] | None = Field(None, description="Keep the best k, best first.")
    embedding: bool = Field(False, description="Also give the picture's normalised vector.")
    details: bool = Field(False, description="Also give `similarities` (the cosine of every prompt), `model` and `image`.")

    _names: dict[str, str] = PrivateAttr(default_factory=dict)

    def path(self, field: str, *rest: object) -> str:
        """How the caller names a part of the request, such as `labels.3`."""
        return ".".join((self._names.get(field, field), *map(str, rest)))


class Parameters(Strict):
    candidate_labels: Labels
    hypothesis_template: Template = "This is a photo of {}."


class ZeroShot(Strict):
    """The form of Hugging Face's zero-shot-image-classification task."""

    inputs: Base64 = Field(description="One image file in base64.")
    parameters: Parameters

    def classify(self) -> Classify:
        asked = Classify.model_construct(
            image_data=self.inputs, labels=self.parameters.candidate_labels, templates=[self.parameters.hypothesis_template]
        )
        asked._names = {
            "image_data": "inputs",
            "labels": "parameters.candidate_labels",
            "templates": "parameters.hypothesis_template",
        }
        return asked


# The content types of a body that is an image; which format it has is told by its content.
IMAGE_TYPES = (*(f"image/{kind}" for kind in ("jpeg", "png", "webp", "gif", "bmp", "avif")), "application/octet-stream")
# What a request with an image as its body may say in the query; those of a list may be repeated.
QUERY_LISTS = ("labels", "templates")
QUERY = (*QUERY_LISTS, "multi_label", "negative_template", "fit", "min_probability", "top_k", "embedding", "details")

Probability = Annotated[float, Field(ge=0, le=1)]


class ModelDetails(Strict):
    name: str
    tag: str | None
    precision: dict[str, str]
    logit_scale: float


class ImageDetails(Strict):
    """As sent: before it was turned, shrunk or cropped."""

    format: str
    width: int
    height: int


class Result(Strict):
    """The answer for one picture; what wasn't asked for is left out."""

    result: dict[str, Probability]
    embedding: list[float] | None = None
    similarities: dict[str, float] | None = None
    model: ModelDetails | None = None
    image: ImageDetails | None = None


class Refusal(Strict):
    """What was wrong and what would be right. `error` repeats the message in Hugging Face's form."""

    message: str
    code: str
    field: str | None = None
    error: str | None = None


class Failed(Strict):
    error: Refusal


class Results(Strict):
    results: list[Result | Failed]


class Score(Strict):
    label: str
    score: Probability
