"""The judgement: numbers with intervals, thresholds, and both as a text and as what the report shows."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from classifier.contract.bundle import BundleManifest
from classifier.contract.strict_json import JsonObject
from tools.evaluate.dataset import Answers, Material
from tools.evaluate.judging.choices import (
    Choice,
    changes,
    estimated_choices,
    mildest,
    own_choices,
    promised_choices,
)
from tools.evaluate.judging.goals import Wanted
from tools.evaluate.judging.guarantees import ERROR
from tools.evaluate.judging.measures import (
    Draws,
    Ints,
    Triple,
    accuracies,
    accuracy_differences,
    average_precision_difference,
    measure,
)
from tools.evaluate.report.charts import POINTS, TOTAL_POINTS, confusion, curve, reliability
from tools.evaluate.report.galleries import Side, galleries


@dataclass(frozen=True)
class Judgement:
    material: Material
    wanted: Wanted
    manifest: BundleManifest
    choices: list[list[Choice]]

    def changes(self) -> JsonObject | None:
        """What is to be saved; None where no threshold passes."""
        return changes(self.choices[0], self.wanted)

    @cached_property
    def draws(self) -> Draws:
        return Draws(self.material.groups)

    @property
    def exclusive(self) -> bool:
        """Whether there is one answer for a picture, to count how often it is right."""
        return not any(answers.file.multi_label for answers in self.material.answers)

    @cached_property
    def overall(self) -> list[tuple[str, list[Triple | None]]]:
        """Numbers of all pictures that show a name, one for each classifier."""
        if not self.exclusive:
            return []
        each = [accuracies(taken(answers), self.material.truth, self.draws) for answers in self.material.answers]
        return list(zip(("accuracy", "balanced accuracy"), map(list, zip(*each, strict=True)), strict=True))

    @cached_property
    def rows(self) -> list[list[JsonObject]]:
        return [
            _rows(answers, choices, self.material, self.wanted, self.draws)
            for answers, choices in zip(self.material.answers, self.choices, strict=True)
        ]

    @cached_property
    def differences(self) -> list[tuple[str, Triple]]:
        """The first classifier less the second."""
        if len(self.material.answers) < 2:
            return []
        first, second = self.material.answers
        truth, found = self.material.truth, dict[str, Triple]()
        if self.exclusive:
            found |= accuracy_differences(taken(first), taken(second), truth, self.draws)
        for i, name in enumerate(self.material.names):
            if truth[:, i].any():
                prevalence = self.wanted.prevalence.get(name)
                found[f"average precision, {name}"] = average_precision_difference(
                    truth[:, i], first.counted[:, i], second.counted[:, i], self.draws, prevalence
                )
        return list(found.items())

    @property
    def mix(self) -> str:
        given = [f"of {name} as if {100 * share:g} % of all pictures showed it" for name, share in self.wanted.prevalence.items()]
        text = f"Precision {'; '.join(given)}; of the others in" if given else "In"
        return f"{text} a mix like this folder's. Recall and false alarms don't depend on the mix."

    def lines(self) -> list[str]:
        """What was judged."""
        count, others = len(self.material.pictures), int((~self.material.truth.any(axis=1)).sum())
        groups = len(np.unique(self.material.groups))
        text = f"{count:,} pictures, {others:,} of them of none of the {len(self.material.names):,} labels"
        text += f", in {groups:,} groups" if groups < count else ""
        return [f"{' against '.join(self.sides)} on {self.manifest.name} ({self.manifest.fingerprint[:12]})", text + "."]

    @property
    def sides(self) -> list[str]:
        return [answers.judged.name for answers in self.material.answers]

    def text(self) -> str:
        parts = ["\n".join([*self.lines(), *self.material.notes])]
        parts.append(f"{self.mix} In brackets, 95 % intervals; in %.")
        if self.overall:
            parts.append(table(["", *self.sides], [[name, *map(percent, values)] for name, values in self.overall]))
        for name, rows in zip(self.sides, self.rows, strict=True):
            parts.append((f"{name}:\n" if len(self.sides) > 1 else "") + _text_of_rows(rows))
        if self.differences:
            parts.append(
                table([f"{' less '.join(self.sides)}", ""], [[name, percent(triple)] for name, triple in self.differences])
            )
        return "\n\n".join([*parts, *self._text_of_choices()])

    def _text_of_choices(self) -> list[str]:
        missing = [f"  {choice.name}: {choice.kind}: {choice.why}" for choice in self.choices[0] if choice.threshold is None]
        if self.wanted.promises:
            text = (
                f"Thresholds that keep their promise on other pictures of the same kind, in the same mix: in {100 * (1 - ERROR):g} of 100 "
                "folders like this one, all of them do."
            )
            passed = len(missing) < len(self.choices[0])
            return [
                text if passed else "No threshold keeps its promise here.",
                *(["No threshold for:\n" + "\n".join(missing)] if missing else []),
            ]
        estimated = any("estimate" in choice.kind for choice in self.choices[0])
        return (
            ["These thresholds are estimates: they were the best on these pictures, and promise nothing for others."]
            if estimated
            else []
        )

    def report(self) -> JsonObject:
        """What report.html shows."""
        material, first = self.material, self.material.answers[0]
        sides = [side(answers, material, choices) for answers, choices in zip(material.answers, self.choices, strict=True)]
        multi_label = first.file.multi_label
        matrix, confused = (None, []) if multi_label else confusion(sides[0], material)
        limits = mildest(self.choices[0])
        points = max(20, min(POINTS, TOTAL_POINTS // len(material.names)))
        bins, caption = reliability(first, material)
        return {
            "title": f"How good is {self.sides[0]}?", "lines": self.lines(), "mix": self.mix,
            "notes": [line.strip() for text in (*material.notes, *self._text_of_choices()) for line in text.split("\n")],
            "sides": self.sides, "overall": [{"name": name, "values": values} for name, values in self.overall],
            "tables": [
                {"caption": f"{name}, each name at its threshold, with 95 % intervals", "rows": rows}
                for name, rows in zip(self.sides, self.rows, strict=True)
            ],
            "differences": [{"name": name, "value": triple} for name, triple in self.differences],
            "confusion": matrix, "confused": confused,
            "curves": [
                curve(
                    name, material.truth[:, i], first.counted[:, i], material.groups, limits.get(name),
                    self.wanted.prevalence.get(name), points,
                ) for i, name in enumerate(material.names) if 0 < material.truth[:, i].sum() < len(material.truth)
            ],
            "reliability": bins, "reliability_caption": caption,
            "galleries": galleries(sides, material.pictures, material.truth, multi_label=multi_label),
            "made": f"Made on {time.strftime('%d %B %Y')}. Everything is in this file; it asks nobody for anything.",
        }  # fmt: skip


def _text_of_rows(rows: Sequence[JsonObject]) -> str:
    heads = ["", "pictures", "threshold", "", "precision", "recall", "false alarms", "F1", "average precision"]
    return table(heads, [
        [
            f"{row['name']}: {row['action']}" if row["action"] else row["name"], f"{row['pictures']:,}",
            "–" if row["threshold"] is None else f"{row['threshold']:.4g}", row["kind"],
            *(percent(row[key]) for key in ("precision", "recall", "false_alarms", "f1", "average_precision")),
        ] for row in rows
    ])  # fmt: skip


def judge(material: Material, wanted: Wanted, manifest: BundleManifest) -> Judgement:
    first, *others = material.answers
    if wanted.own and first.file.thresholds:
        chosen = own_choices(first, material.names)
    elif wanted.promises:
        chosen = promised_choices(material, wanted)
    else:
        chosen = estimated_choices(first, material, wanted)
    return Judgement(
        material,
        wanted,
        manifest,
        [chosen, *(own_choices(each, material.names) or estimated_choices(each, material, wanted) for each in others)],
    )


def side(answers: Answers, material: Material, choices: Sequence[Choice]) -> Side:
    """What counts: with multi_label each name that reaches its mildest threshold, else the most likely name, if any may."""
    shares, limits = answers.counted, mildest(choices)
    if answers.file.multi_label:
        thresholds = np.array([limits.get(name, 0.5) for name in material.names])
        return Side(answers.judged.name, material.names, shares, shares >= thresholds, np.abs(shares - thresholds).min(axis=1))
    decided = np.zeros(shares.shape, np.bool_)
    decided[np.arange(len(shares)), shares.argmax(axis=1)] = shares.max(axis=1) > 0
    ordered = np.sort(shares, axis=1)
    return Side(
        answers.judged.name, material.names, shares, decided, ordered[:, -1] - (ordered[:, -2] if shares.shape[1] > 1 else 0.0)
    )


def percent(triple: Triple | None) -> str:
    if triple is None:
        return "–"
    # Adding 0 turns what is rounded to -0.0 into 0.0.
    value, low, high = (round(100 * number, 1) + 0.0 for number in triple)
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns to the right, the first one to the left."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = [
        "  ".join(
            f"{cell:<{width}}" if i == 0 else f"{cell:>{width}}" for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in (heads, *rows)
    ]
    return "\n".join(line.rstrip() for line in lines)


def taken(answers: Answers) -> Ints:
    """The most likely name [N], -1 where min_similarity lets none count."""
    best: Ints = np.where(answers.counted.max(axis=1) > 0, answers.counted.argmax(axis=1), -1)
    return best


def _rows(answers: Answers, choices: Sequence[Choice], material: Material, wanted: Wanted, draws: Draws) -> list[JsonObject]:
    """A row for each threshold, and one for each name without."""
    found = []
    for i, name in enumerate(material.names):
        shown, shares = material.truth[:, i], answers.counted[:, i]
        own = [choice for choice in choices if choice.name == name] or [Choice(name, None, None, "")]
        for choice in own:
            numbers = measure(shown, shares, choice.threshold, draws, wanted.prevalence.get(name))
            found.append({
                "name": name, "action": choice.action or "", "pictures": int(shown.sum()), "threshold": choice.threshold,
                "kind": choice.kind if choice.threshold is not None else "none passes" if choice.kind else "", **numbers,
            })  # fmt: skip
    return found
