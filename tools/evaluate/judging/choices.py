"""The thresholds of a classifier: its own, guaranteed ones, or the best on these images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from classifier.contract.classifiers.decision import limits_of
from classifier.contract.strict_json import JsonObject
from tools.evaluate.dataset import Answers, Dataset
from tools.evaluate.judging.goals import ThresholdGoals
from tools.evaluate.judging.guarantees import (
    ERROR,
    HEAD_WONT_HELP,
    WONT_HELP,
    estimated,
    guaranteed,
)

BEST_F1 = "best F1, an estimate"
LEAST_COST = "least cost, an estimate"


@dataclass(frozen=True)
class Choice:
    """A label's threshold, None if there is none; `kind`: how it was chosen; `why`: why not."""

    name: str
    action: str | None
    threshold: float | None
    kind: str
    why: str = ""


def own_choices(answers: Answers, names: Sequence[str]) -> list[Choice]:
    """The thresholds that the file has."""
    file = answers.file
    kind = "fitted" if file.fitted_on else "set by hand"
    thresholds = file.thresholds or {}
    return [
        Choice(name, limit.action, limit.threshold, kind)
        for name in names
        for limit in limits_of(thresholds.get(name), file.actions)
    ]


def guaranteed_choices(dataset: Dataset, goals: ThresholdGoals) -> list[Choice]:
    """Of the first classifier. All guarantees share ERROR."""
    probabilities = dataset.answers[0].counted
    error = ERROR / (len(goals.names) * len(goals.guarantees))
    mildest_action = goals.actions[0] if goals.actions else None
    found = list[Choice]()
    for name in goals.names:
        i = dataset.names.index(name)
        positives = dataset.truth[:, i]
        choices = []
        for guarantee in goals.guarantees:
            threshold, why = guaranteed(
                positives,
                probabilities[:, i],
                dataset.groups,
                guarantee.kind,
                guarantee.level,
                error,
            )
            if dataset.answers[0].file.head:
                why = why.replace(WONT_HELP, HEAD_WONT_HELP)
            choices.append(Choice(name, guarantee.action, threshold, str(guarantee), why))
        limits = [choice.threshold for choice in choices if choice.threshold is not None]
        for choice in choices:
            # The recall may allow a higher threshold than that of the stricter action. The lower
            # of the two keeps it as well, since it finds no less.
            lower = choice.threshold is not None and choice.action == mildest_action
            found.append(replace(choice, threshold=min(limits)) if lower else choice)
    return found


def estimated_choices(answers: Answers, dataset: Dataset, goals: ThresholdGoals) -> list[Choice]:
    found = []
    action = goals.actions[0] if goals.actions else None
    for name in goals.names:
        i = dataset.names.index(name)
        threshold = estimated(dataset.truth[:, i], answers.counted[:, i], goals.cost)
        kind = LEAST_COST if goals.cost else BEST_F1
        why = "no image shows it." if threshold is None else ""
        found.append(Choice(name, action, threshold, kind, why))
    return found


def changes(choices: Sequence[Choice], goals: ThresholdGoals) -> JsonObject | None:
    """The fields to save; None if there is no threshold."""
    thresholds: JsonObject = {}
    for choice in choices:
        if choice.threshold is not None and choice.action is None:
            thresholds[choice.name] = choice.threshold
        elif choice.threshold is not None:
            thresholds.setdefault(choice.name, {})[choice.action] = choice.threshold
    if not thresholds:
        return None
    return {"thresholds": thresholds} | ({"actions": list(goals.actions)} if goals.actions else {})


def mildest(choices: Sequence[Choice]) -> dict[str, float]:
    """Each label's lowest threshold: from there on it counts at all."""
    found: dict[str, float] = {}
    for choice in choices:
        if choice.threshold is not None:
            found[choice.name] = min(choice.threshold, found.get(choice.name, 1.0))
    return found
