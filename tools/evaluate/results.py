"""The judgement: numbers with intervals, thresholds, and both as a text and as what the report shows."""

import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from classifier.bundle import BundleManifest
from classifier.decision import by_action
from classifier.schema import JsonObject
from classifier.scoring import Floats
from tools.evaluate.galleries import Side, galleries
from tools.evaluate.material import Answers, Material
from tools.evaluate.measures import (
    Draws,
    Ints,
    Triple,
    accuracies,
    accuracy_differences,
    average_precision_difference,
    interval,
    measure,
    wilson,
)
from tools.evaluate.pictures import OTHER
from tools.evaluate.promises import ERROR, estimated, promised
from tools.evaluate.wanted import Wanted

# So many names have their confusion shown as a matrix; of more, the most frequent mistakes are listed.
MATRIX = 30
CONFUSED = 30
# Points of a curve, fewer where there are many names.
POINTS = 200
TOTAL_POINTS = 10_000
BINS = 10
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
        reliability, caption = _reliability(first, material)
        return {
            "title": f"How good is {self.sides[0]}?", "lines": self.lines(), "notes": [line.strip() for text in (*material.notes, *self._text_of_choices()) for line in text.split("\n")], "mix": self.mix,
            "sides": self.sides, "overall": [{"name": name, "values": values} for name, values in self.overall],
            "tables": [
                {"caption": f"{name}, each name at its threshold, with 95 % intervals", "rows": rows}
                for name, rows in zip(self.sides, self.rows, strict=True)
            ],
            "differences": [{"name": name, "value": triple} for name, triple in self.differences],
            "confusion": matrix, "confused": confused,
            "curves": [
                curve(name, material.truth[:, i], first.counted[:, i], limits.get(name), self.wanted.prevalence.get(name), points)
                for i, name in enumerate(material.names) if 0 < material.truth[:, i].sum() < len(material.truth)
            ],
            "reliability": reliability, "reliability_caption": caption,
            "galleries": galleries(sides, material.pictures, material.truth, multi_label=multi_label),
            "made": f"Made on {time.strftime('%d %B %Y')} by make evaluate. Everything is in this file; it asks nobody for anything.",
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
        chosen = _own(first, material.names)
    elif wanted.promises:
        chosen = _promised(material, wanted)
    else:
        chosen = _estimated(first, material, wanted)
    return Judgement(
        material,
        wanted,
        manifest,
        [chosen, *(_own(each, material.names) or _estimated(each, material, wanted) for each in others)],
    )


def _own(answers: Answers, names: Sequence[str]) -> list[Choice]:
    """The thresholds that the file has."""
    file = answers.file
    kind = "fitted" if file.fitted_on else "set by hand"
    limits = {name: by_action((file.thresholds or {}).get(name, {}), file.actions) for name in names}
    return [Choice(name, action, value, kind) for name in names for action, value in limits[name].items()]


def changes(choices: Sequence[Choice], wanted: Wanted) -> JsonObject | None:
    thresholds: dict[str, JsonObject | float] = {}
    for choice in choices:
        if choice.threshold is not None and choice.action is None:
            thresholds[choice.name] = choice.threshold
        elif choice.threshold is not None:
            limits = thresholds.setdefault(choice.name, {})
            assert isinstance(limits, dict)
            limits[str(choice.action)] = choice.threshold
    for limits in thresholds.values():
        if isinstance(limits, dict):
            # Where the milder promise would need a higher threshold, the stricter one's keeps it too: a lower one finds no less.
            ordered = [action for action in wanted.actions or () if action in limits]
            for mild, strict in reversed(list(pairwise(ordered))):
                limits[mild] = min(limits[mild], limits[strict])
    return {"thresholds": thresholds} | ({"actions": list(wanted.actions)} if wanted.actions else {}) if thresholds else None


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


def mildest(choices: Sequence[Choice]) -> dict[str, float]:
    """Each name's lowest threshold: from there on it counts at all."""
    found: dict[str, float] = {}
    for choice in choices:
        if choice.threshold is not None:
            found[choice.name] = min(choice.threshold, found.get(choice.name, 1.0))
    return found


def confusion(taken: Side, material: Material) -> tuple[JsonObject | None, list[tuple[str, str, int]]]:
    """How often what is taken for what: a matrix, or the most frequent mistakes. A picture of several labels counts for the one that it
    was taken for, else for each of them."""
    counts: Counter[tuple[str, str]] = Counter()
    for i, picture in enumerate(material.pictures):
        best = next((material.names[j] for j in np.flatnonzero(taken.decided[i])), "none")
        for label in [best] if best in picture.labels else sorted(picture.labels) or [OTHER]:
            counts[label, best] += 1
    rows = [name for name in [*material.names, OTHER] if any(shown == name for shown, _ in counts)]
    columns = [*material.names, *(["none"] if any(best == "none" for _, best in counts) else [])]
    if len(material.names) <= MATRIX:
        return {"rows": rows, "columns": columns, "counts": [[counts[row, column] for column in columns] for row in rows]}, []
    wrong = Counter({pair: count for pair, count in counts.items() if pair[0] != pair[1]})
    return None, [(*pair, count) for pair, count in wrong.most_common(CONFUSED)]


def grid(shares: Floats, limits: Sequence[float], points: int) -> list[float]:
    """Thresholds of a curve: evenly over the probabilities and over the pictures, and those that were chosen."""
    even = np.linspace(0, 1, points // 2 + 1)
    chosen = np.unique(np.concatenate([even, np.quantile(shares, even), limits]))
    return [float(value) for value in chosen if value > 0]


def percent(triple: Triple | None) -> str:
    if triple is None:
        return "–"
    value, low, high = (100 * number for number in triple)
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


def curve(
    name: str, shown: NDArray[np.bool_], shares: Floats, limit: float | None, prevalence: float | None, points: int
) -> JsonObject:
    """For the report: each point has a threshold, true and false positives, then precision, recall and false alarms with intervals."""
    positives, count = int(shown.sum()), len(shown)
    share = prevalence or positives / count
    thresholds = np.array(grid(shares, [] if limit is None else [limit], points))
    hits, alarms = (len(part) - np.searchsorted(np.sort(part), thresholds) for part in (shares[shown], shares[~shown]))
    precision, recall, rate = (
        wilson(hits, hits + alarms),
        wilson(hits, np.array(positives)),
        wilson(alarms, np.array(count - positives)),
    )
    if prevalence is not None:
        ends = ((recall[0], rate[0]), (recall[1], rate[2]), (recall[2], rate[1]))
        with np.errstate(invalid="ignore"):
            value, low, high = (share * found / (share * found + (1 - share) * alarm) for found, alarm in ends)
        precision = value, low, high
    numbers = np.array([*precision, *recall, *rate]).T
    rows = [
        [float(threshold), int(hit), int(alarm), *(None if math.isnan(value) else round(value, 4) for value in values.tolist())]
        for threshold, hit, alarm, values in zip(thresholds, hits, alarms, numbers, strict=True)
    ]
    chosen = 0.5 if limit is None else limit
    nearest = int(np.abs(thresholds - chosen).argmin())
    return {
        "name": name,
        "positives": positives,
        "negatives": count - positives,
        "share": share,
        "chosen": nearest,
        "points": rows,
    }


def _reliability(answers: Answers, material: Material) -> tuple[list[JsonObject], str]:
    """Bins of the probabilities, and how often what they say is true."""
    if answers.file.multi_label:
        said, true = answers.probabilities.ravel(), material.truth.ravel()
        caption = "Of all names of all pictures: how probable each was said to be, and how often the picture shows it."
    else:
        best = answers.probabilities.argmax(axis=1)
        each = np.arange(len(best))
        said, true = answers.probabilities[each, best], material.truth[each, best]
        caption = "How probable the most likely name was said to be, and how often the picture shows it; pictures of none of the names are wrong with any."
    bins = np.minimum((said * BINS).astype(int), BINS - 1)
    found = []
    for number in range(BINS):
        inside = bins == number
        if inside.any():
            share, low, high = interval(int(true[inside].sum()), int(inside.sum()))
            found.append({
                "from": number / BINS, "to": (number + 1) / BINS, "count": int(inside.sum()), "mean": float(said[inside].mean()),
                "share": share, "low": low, "high": high,
            })  # fmt: skip
    return found, caption


def _promised(material: Material, wanted: Wanted) -> list[Choice]:
    shares = material.answers[0].counted
    asked = [(name, promise) for name in wanted.names for promise in wanted.promises]
    found = []
    for name, promise in asked:
        i = material.names.index(name)
        threshold, why = promised(
            material.truth[:, i], shares[:, i], material.groups, promise.kind, promise.level, ERROR / len(asked)
        )
        found.append(Choice(name, promise.action, threshold, str(promise), why))
    return found


def _estimated(answers: Answers, material: Material, wanted: Wanted) -> list[Choice]:
    found = []
    for name in wanted.names:
        i = material.names.index(name)
        shown, shares = material.truth[:, i], answers.counted[:, i]
        threshold = estimated(shown, shares, wanted.cost)
        kind, why = LEAST_COST if wanted.cost else BEST_F1, "no picture shows it" if threshold is None else ""
        found.append(Choice(name, wanted.actions[0] if wanted.actions else None, threshold, kind, why))
    return found
