"""The thresholds that are asked for, checked before any work."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from classifier.contract.errors import quoted
from classifier.contract.request.unknown import unknown_name
from tools.evaluate.classifier_file import Candidate

# As texts, and whether such a guarantee is for the mildest action: finding enough is its task, and
# being sure that of the others.
KINDS: Mapping[str, tuple[str, bool]] = {
    "precision": ("precision ≥", False),
    "recall": ("recall ≥", True),
    "false_alarms": ("false alarms ≤", False),
}


class GoalsError(Exception):
    """Thresholds that can't be asked for; the message says what to do."""


@dataclass(frozen=True)
class Guarantee:
    """`kind`: one of KINDS; `action`: the one that reaching the threshold leads to, None without
    actions.
    """

    kind: str
    level: float
    action: str | None

    def __str__(self) -> str:
        return f"{KINDS[self.kind][0]} {100 * self.level:g} %"


@dataclass(frozen=True)
class ThresholdGoals:
    """`cost`: of a miss and of a false alarm; `names`: the labels that get thresholds;
    `own`: judge the file's thresholds instead."""

    guarantees: Sequence[Guarantee]
    cost: tuple[float, float] | None
    names: Sequence[str]
    prevalence: Mapping[str, float]
    actions: Sequence[str] | None
    own: bool

    @classmethod
    def of(cls, given: argparse.Namespace, candidate: Candidate) -> "ThresholdGoals":
        """Raises GoalsError."""
        levels = {kind: getattr(given, kind) for kind in KINDS if getattr(given, kind) is not None}
        cost = _cost(given.cost) if given.cost else None
        _check_levels(levels, cost, given.prevalence)
        actions = given.actions or candidate.file.actions
        if len(levels) > 1 and len(actions or ()) < 2:
            raise GoalsError(
                "Two guarantees make a review band, which needs two actions, mildest first: "
                "--actions review,block."
            )
        guarantees = []
        for kind, level in levels.items():
            action = (actions[0] if KINDS[kind][1] else actions[-1]) if actions else None
            guarantees.append(Guarantee(kind, level, action))
        names = given.names or candidate.names
        for name in names:
            _check_name(name, candidate, "--for")
        asked = guarantees or cost or given.save is not None
        own = not asked and bool(candidate.file.thresholds)
        prevalence = dict(_prevalence(text, candidate) for text in given.prevalence)
        return cls(guarantees, cost, names, prevalence, actions, own)


def _check_levels(
    levels: Mapping[str, float], cost: tuple[float, float] | None, prevalence: Sequence[str]
) -> None:
    for kind, level in levels.items():
        if not 0 < level < 1:
            raise GoalsError(
                f"--{kind.replace('_', '-')} {level:g} must be more than 0 and less than 1, such "
                "as 0.95 for 95 %."
            )
    if cost and levels:
        raise GoalsError("--cost and a guarantee exclude each other; give one of them.")
    if {"precision", "false_alarms"} <= levels.keys():
        raise GoalsError(
            "--precision and --false-alarms are for the same threshold; give one of them, or one "
            "with --recall."
        )
    if "precision" in levels and prevalence:
        raise GoalsError(
            "--precision is guaranteed for a mix like the folder's, and --prevalence is for "
            "another one. Guarantee --false-alarms, which hold in every mix: if a share s of all "
            "images shows the label and a share r of those counts, precision p needs "
            "s·r·(1 - p) / (p·(1 - s)) or less."
        )


def _check_name(name: str, candidate: Candidate, option: str) -> None:
    if name not in candidate.names:
        raise GoalsError(f"{option} has {unknown_name(name, candidate.names, 'label or category')}")


def _prevalence(text: str, candidate: Candidate) -> tuple[str, float]:
    name, _, share = text.rpartition("=")
    _check_name(name, candidate, "--prevalence")
    try:
        value = float(share)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise GoalsError(
            f"--prevalence {quoted(text)} must be a name and a share between 0 and 1, such as "
            f"{quoted(name + '=0.01')}."
        )
    return name, value


def _cost(text: str) -> tuple[float, float]:
    parts = dict(part.partition("=")[::2] for part in text.replace(" ", "").split(","))
    try:
        miss = float(parts.pop("miss"))
        alarm = float(parts.pop("alarm"))
        good = not parts and 0 < miss < float("inf") and 0 < alarm < float("inf")
    except (KeyError, ValueError):
        good = False
    if not good:
        raise GoalsError(f"--cost {quoted(text)} must be two numbers above 0: miss=10,alarm=1.")
    return miss, alarm
