"""Hugging Face's zero-shot-image-classification, as a dialect.

https://huggingface.co/docs/inference-providers/tasks/zero-shot-image-classification
"""

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainValidator, WithJsonSchema

from classifier.api.body import Body
from classifier.contract.errors import ApiError
from classifier.contract.request.fields import ApiModel, Label, Labels, Template
from classifier.contract.request.image_fields import BASE64_SCHEMA, decode
from classifier.contract.request.query import Query, Question
from classifier.contract.request.validation import check_joined_labels, validate
from classifier.contract.strict_json import JsonObject

# This dialect's names of our fields.
FIELDS = {
    "image_data": "inputs",
    "labels": "parameters.candidate_labels",
    "templates": "parameters.hypothesis_template",
}


def _split(value: object) -> object:
    """Hugging Face's examples join labels with commas, and may end with one. A text that looks like
    a JSON list is refused later, as everywhere.
    """
    if not isinstance(value, str) or value.lstrip().startswith("["):
        return [value] if isinstance(value, str) else value
    labels = [label.strip() for label in value.split(",")]
    return labels if labels[-1] else labels[:-1] or labels


def _decode_input(value: object) -> bytes:
    """Hugging Face's client for JavaScript puts the image into an object."""
    if isinstance(value, dict):
        sent = [name for name, part in value.items() if part is not None]
        value = value["image"] if sent == ["image"] else value
    return decode(value)


_INPUT_SCHEMA = {
    "anyOf": [
        BASE64_SCHEMA,
        {
            "type": "object",
            "properties": {"image": BASE64_SCHEMA},
            "required": ["image"],
            "additionalProperties": False,
        },
    ]
}


class HuggingFaceParameters(ApiModel):
    candidate_labels: Annotated[
        Labels, BeforeValidator(_split, json_schema_input_type=Labels | Label)
    ] = Field(description="A list, or one string with commas between the labels.")
    hypothesis_template: Template = "This is a photo of {}."


class HuggingFaceOptions(ApiModel):
    """Ignored: a model is always there, and nothing is cached between requests or runs on a GPU."""

    wait_for_model: bool = True
    use_cache: bool = True
    use_gpu: bool = False


class HuggingFaceRequest(ApiModel):
    """The form of Hugging Face's zero-shot-image-classification task."""

    inputs: Annotated[bytes, PlainValidator(_decode_input), WithJsonSchema(_INPUT_SCHEMA)] = Field(
        description='One image file in base64, or `{"image": …}` with it.'
    )
    parameters: HuggingFaceParameters
    options: HuggingFaceOptions = Field(
        default_factory=HuggingFaceOptions, description="Accepted and ignored."
    )


class HuggingFace:
    def speaks(self, body: Body) -> bool:
        """Whether a body has this dialect's form, so that its sender expects the answer in it."""
        names = ("inputs", "parameters")
        return isinstance(body, dict) and any(body.get(name) is not None for name in names)

    def read(self, body: Body, parameters: Mapping[str, Sequence[str]]) -> Query:
        assert isinstance(body, dict)
        sent = validate(HuggingFaceRequest, body)
        labels = sent.parameters.candidate_labels
        check_joined_labels(labels, FIELDS["labels"])
        question = Question(labels, templates=[sent.parameters.hypothesis_template])
        return Query(question, [sent.inputs], field_names=FIELDS)

    def write(self, query: Query, answer: JsonObject) -> list[JsonObject]:
        ranked = sorted(answer["result"].items(), key=lambda pair: -pair[1])
        return [{"label": label, "score": score} for label, score in ranked]

    def error(self, err: ApiError) -> JsonObject:
        # Its client shows the text under this key.
        return err.body() | {"error": err.message}


HUGGING_FACE = HuggingFace()
