"""Limits on prompts and on the answer, checked before any work on them."""

import json
from collections.abc import Sequence

from classifier.contract.errors import ApiError
from classifier.contract.limits import (
    MAX_ANSWER_BYTES,
    MAX_CHARACTERS,
    MAX_PROMPTS,
    MAX_TOTAL_CHARACTERS,
    MAX_TOTAL_LINES,
)
from classifier.contract.request.query import Query

# Bytes of the longest float64 in JSON, and of the separator behind it.
_NUMBER_BYTES = 26
# Bytes of a region without its probabilities.
_BOX_BYTES = 4 * _NUMBER_BYTES + 60
# Bytes of a label in a decision, without its name, one number and its action.
_COUNTED_BYTES = _NUMBER_BYTES + 100


def check_count(count: int) -> None:
    if count > MAX_PROMPTS:
        message = (
            f"These are {count:,} prompts (labels and their negatives, times templates); at most"
            f" {MAX_PROMPTS:,} are allowed."
        )
        raise ApiError(400, "too_many_prompts", message)


def check_lengths(texts: Sequence[str], fields: Sequence[str], subject: str = "The label") -> None:
    """Raises ApiError for a label that is too long for any model, before any work on its
    characters.
    """
    for text, field in zip(texts, fields, strict=True):
        if len(text) > MAX_CHARACTERS:
            message = (
                f"{subject} has {len(text)} characters; at most {MAX_CHARACTERS} are allowed, and"
                " the model reads far fewer."
            )
            raise ApiError(400, "label_too_long", message, field)


def check_total(texts: Sequence[str], templates: Sequence[str]) -> None:
    """Raises ApiError if all texts, in all templates together, have more characters or lines than
    there is time to clean.
    """
    for unit, maximum, counts in (
        (
            "characters",
            MAX_TOTAL_CHARACTERS,
            [[len(text) for text in group] for group in (texts, templates)],
        ),
        (
            "line breaks",
            MAX_TOTAL_LINES,
            [[text.count("\n") for text in group] for group in (texts, templates)],
        ),
    ):
        of_texts, of_templates = map(sum, counts)
        total = of_texts * len(templates) + of_templates * len(texts)
        if total > maximum:
            message = (
                f"The labels and their negatives, in all templates, have {total:,} {unit}; at most"
                f" {maximum:,} are allowed."
            )
            raise ApiError(400, "too_many_prompts", message)


def check_answer_size(
    query: Query, names: Sequence[str], prompts: Sequence[str], dimension: int
) -> None:
    """Raises ApiError for an answer that could be larger than Lambda can send."""

    def sizes(texts: Sequence[str]) -> list[int]:
        # The answer travels as a JSON string inside JSON, at worst with everything but ASCII
        # escaped: seven bytes for half a surrogate pair. For one image and texts of ordinary length
        # a quick bound is enough, since they can't come near the limit.
        exact = query.several or query.regions or 14 * sum(map(len, texts)) > 1_000_000
        return [
            (len(json.dumps(json.dumps(text))) if exact else 14 * len(text) + 6) + _NUMBER_BYTES
            for text in texts
        ]

    named = sum(sorted(sizes(names), reverse=True)[: query.top_k])
    counted = [size + _COUNTED_BYTES for size in sizes(list(query.question.thresholds or ()))]
    action = max(sizes(query.question.actions or ()), default=0)
    entry = (
        300
        + named
        + sum(counted)
        + action * (len(counted) + 1)
        + (_BOX_BYTES + named) * query.regions**2
    )
    entry += _NUMBER_BYTES * dimension if query.embedding else 0
    entry += sum(sizes(prompts)) if query.details else 0
    size = entry * (len(query.images) if query.several else 1)
    if size > MAX_ANSWER_BYTES:
        limit = MAX_ANSWER_BYTES / 1e6
        fit = MAX_ANSWER_BYTES // entry
        message = (
            f"The answer could take {size / 1e6:.1f} MB; at most {limit} MB can be sent. Ask for"
            f" top_k, or for fewer images: {fit} fit."
        )
        message += " Or ask for fewer regions." if query.regions else ""
        raise ApiError(400, "answer_too_large", message)
