"""What to look for in an image: the fields that a request and a classifier's file share."""

from typing import Annotated, Literal

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
        AfterValidator(reject_encoded),
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
            "How an image that isn't square is seen: `crop` its centre, `pad` it, `squash` it, or"
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
            " `{name: {action: p}}`, a stricter action's at least a milder one's. The answer then"
            " has a `decision`. Names without one never count. A label alone needs `multi_label`."
        ),
    )
    min_similarity: Annotated[float, Field(ge=-1, le=1)] | None = Field(
        None,
        description=(
            "With `thresholds`: if the largest cosine of all labels' prompts is below it, the"
            " image is none of these, and no name counts."
        ),
    )
