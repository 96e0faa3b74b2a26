"""What thresholds are asked for, checked before any work."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from classifier.contract.errors import quoted
from classifier.contract.unknown import unknown_name
from tools.evaluate.classifier_file import Judged

# As options, in texts, and whether such a promise is for the mildest action: what is to be found goes there, what is to be sure elsewhere.
KINDS: Mapping[str, tuple[str, bool]] = {
    "precision": ("precision ≥", False),
    "recall": ("recall ≥", True),
    "false_alarms": ("false alarms ≤", False),
}


class WantedError(Exception):
    """Thresholds that can't be asked for so; the message says what to do."""


@dataclass(frozen=True)
class Promise:
    """`kind`: one of KINDS; `action`: what reaching the threshold does, None for a classifier without actions."""

    kind: str
    level: float
    action: str | None

    def __str__(self) -> str:
        return f"{KINDS[self.kind][0]} {100 * self.level:g} %"


@dataclass(frozen=True)
class Wanted:
    """`cost`: of a miss and of a false alarm; `names`: those that get thresholds; `own`: judge the file's thresholds instead."""

    promises: Sequence[Promise]
    cost: tuple[float, float] | None
    names: Sequence[str]
    prevalence: Mapping[str, float]
    actions: Sequence[str] | None
    own: bool

    @classmethod
    def of(cls, given: argparse.Namespace, judged: Judged) -> "Wanted":
        """Raises WantedError."""
        levels = {kind: getattr(given, kind) for kind in KINDS if getattr(given, kind) is not None}
        for kind, level in levels.items():
            if not 0 < level < 1:
                raise WantedError(
                    f"--{kind.replace('_', '-')} {level:g} must be more than 0 and less than 1, such as 0.95 for 95 %."
                )
        cost = _cost(given.cost) if given.cost else None
        if cost and levels:
            raise WantedError("--cost and a promise exclude each other; give one of them.")
        if {"precision", "false_alarms"} <= levels.keys():
            raise WantedError(
                "--precision and --false-alarms are for the same threshold; give one of them, or one with --recall."
            )
        actions = given.actions or judged.file.actions
        if len(levels) > 1 and len(actions or ()) < 2:
            raise WantedError("Two promises make a review band, which needs two actions, mildest first: --actions review,block.")
        promises = [
            Promise(kind, level, (actions[0] if KINDS[kind][1] else actions[-1]) if actions else None)
            for kind, level in levels.items()
        ]
        if "precision" in levels and given.prevalence:
            raise WantedError(
                "--precision promises for a mix like the folder's, and --prevalence is for another one. Promise --false-alarms, which hold "
                "in every mix: where a share s shows it and a share r of those counts, precision p needs s·r·(1 - p) / (p·(1 - s)) or less."
            )
        names = given.names or judged.names
        for name in names:
            _check_name(name, judged, "--for")
        own = not promises and not cost and given.save is None and bool(judged.file.thresholds)
        return cls(promises, cost, names, dict(_prevalence(text, judged) for text in given.prevalence), actions, own)


def _check_name(name: str, judged: Judged, option: str) -> None:
    if name not in judged.names:
        raise WantedError(f"{option} has {unknown_name(name, judged.names, 'label or category')}")


def _prevalence(text: str, judged: Judged) -> tuple[str, float]:
    name, _, share = text.rpartition("=")
    _check_name(name, judged, "--prevalence")
    try:
        value = float(share)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise WantedError(
            f"--prevalence {quoted(text)} must be a name and a share between 0 and 1, such as {quoted(name + '=0.01')}."
        )
    return name, value


def _cost(text: str) -> tuple[float, float]:
    parts = dict(part.partition("=")[::2] for part in text.replace(" ", "").split(","))
    try:
        miss, alarm = float(parts.pop("miss")), float(parts.pop("alarm"))
        good = not parts and 0 < miss < float("inf") and 0 < alarm < float("inf")
    except (KeyError, ValueError):
        good = False
    if not good:
        raise WantedError(f"--cost {quoted(text)} must be two numbers above 0: miss=10,alarm=1.")
    return miss, alarm
