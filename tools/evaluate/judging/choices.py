"""The thresholds of a classifier: its own, those that keep a promise, or the best on these pictures."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from classifier.contract.decision import limits_of
from classifier.contract.strict_json import JsonObject
from tools.evaluate.dataset import Answers, Material
from tools.evaluate.judging.goals import Wanted
from tools.evaluate.judging.guarantees import ERROR, estimated, promised

BEST_F1 = "best F1, an estimate"
LEAST_COST = "least cost, an estimate"


@dataclass(frozen=True)
class Choice:
    """A name's threshold, None where there is none; `kind`: what it is good for; `why`: what would do where nothing passes."""

    name: str
    action: str | None
    threshold: float | None
    kind: str
    why: str = ""


def own_choices(answers: Answers, names: Sequence[str]) -> list[Choice]:
    """The thresholds that the file has."""
    file = answers.file
    kind = "fitted" if file.fitted_on else "set by hand"
    limits = {name: limits_of((file.thresholds or {}).get(name), file.actions) for name in names}
    return [Choice(name, limit.action, limit.threshold, kind) for name in names for limit in limits[name]]


def promised_choices(material: Material, wanted: Wanted) -> list[Choice]:
    """Of the first classifier. All promises share ERROR."""
    shares, found = material.answers[0].counted, list[Choice]()
    for name in wanted.names:
        i = material.names.index(name)
        own = []
        for promise in wanted.promises:
            error = ERROR / (len(wanted.names) * len(wanted.promises))
            threshold, why = promised(material.truth[:, i], shares[:, i], material.groups, promise.kind, promise.level, error)
            own.append(Choice(name, promise.action, threshold, str(promise), why))
        # Where the recall would allow a higher threshold than the stricter action has, that one keeps it too: it finds no less.
        limits = [choice.threshold for choice in own if choice.threshold is not None]
        mild = wanted.actions[0] if wanted.actions else None
        found += [
            replace(choice, threshold=min(limits)) if choice.threshold is not None and choice.action == mild else choice
            for choice in own
        ]
    return found


def estimated_choices(answers: Answers, material: Material, wanted: Wanted) -> list[Choice]:
    found = []
    for name in wanted.names:
        i = material.names.index(name)
        shown, shares = material.truth[:, i], answers.counted[:, i]
        threshold = estimated(shown, shares, wanted.cost)
        kind, why = LEAST_COST if wanted.cost else BEST_F1, "no picture shows it" if threshold is None else ""
        found.append(Choice(name, wanted.actions[0] if wanted.actions else None, threshold, kind, why))
    return found


def changes(choices: Sequence[Choice], wanted: Wanted) -> JsonObject | None:
    """What is to be saved; None where no threshold passes."""
    thresholds: JsonObject = {}
    for choice in choices:
        if choice.threshold is not None and choice.action is None:
            thresholds[choice.name] = choice.threshold
        elif choice.threshold is not None:
            thresholds.setdefault(choice.name, {})[choice.action] = choice.threshold
    return {"thresholds": thresholds} | ({"actions": list(wanted.actions)} if wanted.actions else {}) if thresholds else None


def mildest(choices: Sequence[Choice]) -> dict[str, float]:
    """Each name's lowest threshold: from there on it counts at all."""
    found: dict[str, float] = {}
    for choice in choices:
        if choice.threshold is not None:
            found[choice.name] = min(choice.threshold, found.get(choice.name, 1.0))
    return found
