"""What to look for in an image: the fields that a request and a classifier's file share."""

from typing import Annotated, Any, Literal, LiteralString

from pydantic import (
    AfterValidator,
    Field,
    StringConstraints,
)
from pydantic_core import PydanticCustomError

from classifier.contract.limits import (
    MAX_ACTIONS,
    MAX_CHARACTERS,
    MAX_LABELS,
    MAX_TEMPLATES,
)
from classifier.contract.request.fields import (
    NEGATIVE,
    SLOT,
    Action,
    ApiModel,
    Fit,
    Labels,
    Name,
    Template,
    Threshold,
    max_entries,
    reject_encoded,
    reject_replacement_character,
)


def _negative_template(text: str) -> str:
    if text.count(SLOT) > 1:
        raise PydanticCustomError(
            "custom", "has {} more than once; use it at most once, where the label goes."
        )
    return text


def _limits(maximum: int) -> Any:
    """Of a list whose entries differ, for validation and for the JSON Schema."""
    return Field(
        min_length=1,
        max_length=maximum,
        fail_fast=True,
        json_schema_extra={"uniqueItems": True},
    )


def _distinct(message: LiteralString) -> AfterValidator:
    def check(texts: list[str]) -> list[str]:
        if len(set(texts)) < len(texts):
            raise PydanticCustomError("custom", message)
        return texts

    return AfterValidator(check)


class LabelSpec(ApiModel):
    """What to look for, and from which probability on a name counts. Requests and classifiers'
    files have these fields.
    """

    labels: Labels | None = Field(
        None,
        description=(
            f'1 to {MAX_LABELS:,} texts to choose from, no two the same to the model (`"Cat"` and'
            ' `"cat "` are), each at most as long as the model reads (75 tokens for CLIP). A'
            " single label may hold no comma, semicolon, bar, tab or line break: such a label"
            " usually is several labels joined by mistake."
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
        _limits(MAX_TEMPLATES),
        max_entries(MAX_TEMPLATES),
        _distinct("has the same template twice; send each once."),
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
            " category gets the probability of its best prompt."
        ),
    )
    negative_template: Annotated[
        str,
        StringConstraints(min_length=1, max_length=MAX_CHARACTERS),
        AfterValidator(reject_replacement_character),
        AfterValidator(reject_encoded),
        AfterValidator(_negative_template),
        Field(json_schema_extra={"format": "negative template"}),
    ] = Field(
        NEGATIVE,
        description=(
            "With `multi_label`: the text that stands for absence, put into the same templates."
            " Without `{}`, one text serves all labels."
        ),
    )
    fit: Fit | None = Field(
        None,
        description=(
            "How an image that isn't square is seen: `crop` its centre, `pad` it, `squash` it, or"
            " in `tiles`: two or three squares along the long side, embeddings averaged. Default:"
            " as the model was trained, which is `crop` for CLIP."
        ),
    )
    actions: (
        Annotated[
            list[Action],
            _limits(MAX_ACTIONS),
            max_entries(MAX_ACTIONS),
            _distinct("has the same action twice; name each once, the mildest first."),
        ]
        | None
    ) = Field(
        None,
        description=(
            f"With `thresholds`: 1 to {MAX_ACTIONS} names of things to do, mildest first,"
            ' such as `["review", "block"]`.'
        ),
    )
    thresholds: (
        Annotated[dict[Name, Threshold], Field(min_length=1), max_entries(MAX_LABELS)] | None
    ) = Field(
        None,
        description=(
            "From which probability on a label or category counts: `{name: p}`, or with `actions`"
            " `{name: {action: p}}`, of which a stricter action's is at least as high as a milder"
            " one's. The answer then has a `decision`. Names without one never count. A label"
            " alone needs `multi_label`."
        ),
    )
    min_similarity: Annotated[float, Field(ge=-1, le=1)] | None = Field(
        None,
        description=(
            "With `thresholds`: if the largest cosine of all labels' prompts is below it, the"
            " image is none of these, and no name counts."
        ),
    )
