"""Checks thresholds against the names and actions that they are for, and decides by them. Needs the
standard library and pydantic alone.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from classifier.contract.errors import ApiError, quoted, shortened
from classifier.contract.request.label_spec import LabelSpec
from classifier.contract.request.unknown import unknown_name
from classifier.contract.strict_json import JsonObject

Thresholds = Mapping[str, float | Mapping[str, float]]


def decide(
    probabilities: Mapping[str, float],
    thresholds: Thresholds,
    actions: Sequence[str] | None = None,
    largest_cosine: float = 1.0,
    min_similarity: float | None = None,
) -> JsonObject:
    """The names that reached a threshold, best first, ties in the order given, and the strictest
    action of them all, or None.

    `probabilities`: of every name, none dropped. `actions`: mildest first; without them every
    action is None. Each name comes with the strictest of its thresholds that it reached. No name
    counts if `largest_cosine`, of all names' prompts, is below `min_similarity`.
    """
    reached: list[JsonObject] = []
    counts = min_similarity is None or largest_cosine >= min_similarity
    for name, probability in probabilities.items() if counts else ():
        for limit in reversed(limits_of(thresholds.get(name), actions)):
            if probability >= limit.threshold:
                reached.append({"name": name, "probability": probability, **limit._asdict()})
                break
    reached.sort(key=lambda entry: -entry["probability"])
    taken = {entry["action"] for entry in reached}
    return {
        "labels": reached,
        "action": next((action for action in reversed(actions or ()) if action in taken), None),
    }


class Limit(NamedTuple):
    """A name counts from `threshold` on: for `action`, which is None if there are no actions."""

    threshold: float
    action: str | None


def limits_of(
    threshold: float | Mapping[str, float] | None, actions: Sequence[str] | None
) -> list[Limit]:
    """The limits of one name, mildest first."""
    if threshold is None:
        return []
    if isinstance(threshold, Mapping):
        return [Limit(threshold[action], action) for action in actions or () if action in threshold]
    return [Limit(threshold, None)]


def without_threshold(question: LabelSpec) -> list[str]:
    """The names that a decision can never contain, since only others have a threshold."""
    names = list(question.labels or question.categories or ())
    thresholds = question.thresholds
    return [name for name in names if name not in thresholds] if thresholds else []


def check_thresholds(question: LabelSpec) -> None:
    """Raises ApiError for thresholds that don't fit the names or the actions."""
    names = list(question.labels or question.categories or ())
    actions = question.actions
    thresholds = question.thresholds or {}
    for name, threshold in thresholds.items():
        field = f"thresholds.{shortened(name)}"
        if name not in names:
            raise _refused(
                field, f"thresholds has {unknown_name(name, names, 'label or category')}"
            )
        if actions is None:
            if isinstance(threshold, dict):
                raise _refused(
                    field,
                    f"{field} names actions; list them in actions, mildest first, or send one"
                    " probability.",
                )
            continue
        if not isinstance(threshold, dict):
            raise _refused(
                field,
                f"{field} must say which action it is for: {{{quoted(actions[0])}: {threshold}}}.",
            )
        for action in threshold:
            if action not in actions:
                raise _refused(field, f"{field} has {unknown_name(action, actions, 'action')}")
        for (lower, mild), (higher, strict) in pairwise(limits_of(threshold, actions)):
            if higher < lower:
                message = (
                    f"{field} has {lower} for {quoted(str(mild))} and {higher} for"
                    f" {quoted(str(strict))}, which is stricter, so its threshold must be at least"
                    " as high. actions go from the mildest to the strictest."
                )
                raise _refused(field, message)
    if thresholds and len(names) == 1 and not question.multi_label:
        message = (
            f"thresholds has no meaning for {quoted(names[0])} alone, which always gets 1.0; send"
            " multi_label: true, or more names."
        )
        raise _refused("thresholds", message)


def _refused(field: str, message: str) -> ApiError:
    return ApiError(400, "invalid_request", message, field)
