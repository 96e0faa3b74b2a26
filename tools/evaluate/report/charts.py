"""The report's charts: confusions, curves over the threshold, and calibration."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from classifier.contract.strict_json import JsonObject
from classifier.model.scoring import Floats
from tools.evaluate.dataset import Answers, Dataset
from tools.evaluate.judging.decisions import Decisions
from tools.evaluate.judging.intervals import Bools, Ints, independent_weight, reaching, wilson
from tools.evaluate.labelled import OTHER

NONE = "none of these"
# With more labels than this, the most frequent mistakes are listed instead of a matrix.
MATRIX = 30
CONFUSED = 30
# Points of a curve, fewer if there are many labels.
POINTS = 200
TOTAL_POINTS = 10_000
BINS = 10
# A model's own probabilities spread over powers of ten: its charts have this many, the lowest with
# all below it.
DECADES = 6


def confusion(
    decisions: Decisions, dataset: Dataset
) -> tuple[JsonObject | None, list[tuple[str, str, int]]]:
    """How often each label is taken for which: a matrix, or the most frequent mistakes.

    An image of several labels counts for the one that it was taken for, else for each of them.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for i, image in enumerate(dataset.images):
        best = next((dataset.names[j] for j in np.flatnonzero(decisions.decided[i])), NONE)
        labels = [best] if best in image.labels else sorted(image.labels) or [OTHER]
        counts.update((label, best) for label in labels)
    if len(dataset.names) > MATRIX:
        right = {(OTHER, NONE), *((name, name) for name in dataset.names)}
        wrong = Counter({pair: count for pair, count in counts.items() if pair not in right})
        return None, [(*pair, count) for pair, count in wrong.most_common(CONFUSED)]
    rows = [*dataset.names, OTHER]
    rows = [name for name in rows if any(label == name for label, _ in counts)]
    columns = [*dataset.names, *([NONE] if any(best == NONE for _, best in counts) else [])]
    table = [[counts[row, column] for column in columns] for row in rows]
    return {"rows": rows, "columns": columns, "counts": table}, []


def grid(probabilities: Floats, limits: Sequence[float], points: int) -> list[float]:
    """Thresholds of a curve: evenly over the probabilities and over the images, and `limits`."""
    even = np.linspace(0, 1, points // 2 + 1)
    chosen = np.unique(np.concatenate([even, np.quantile(probabilities, even), limits]))
    return [float(value) for value in chosen if value > 0]


def curve(
    name: str,
    positives: Bools,
    probabilities: Floats,
    groups: Ints,
    limit: float | None,
    prevalence: float | None,
    points: int,
) -> JsonObject:
    """Each point: threshold, true and false positives, then precision, recall and false alarms,
    each with its interval."""
    shown = int(positives.sum())
    others = len(positives) - shown
    share = prevalence or shown / len(positives)
    limits = [] if limit is None else [limit]
    thresholds = np.array(grid(probabilities, limits, points))
    hits = reaching(probabilities[positives], thresholds)
    alarms = reaching(probabilities[~positives], thresholds)
    every = np.ones_like(positives)
    precision = wilson(hits, hits + alarms, independent_weight(every, groups))
    recall = wilson(hits, np.array(shown), independent_weight(positives, groups))
    rate = wilson(alarms, np.array(others), independent_weight(~positives, groups))
    if prevalence is not None:
        # The lower end has the lowest recall and the most false alarms.
        ends = ((recall[0], rate[0]), (recall[1], rate[2]), (recall[2], rate[1]))
        with np.errstate(invalid="ignore"):
            value, low, high = (
                share * found / (share * found + (1 - share) * alarm) for found, alarm in ends
            )
        precision = value, low, high
    numbers = np.array([*precision, *recall, *rate]).T
    rows = [
        [float(threshold), int(hit), int(alarm), *map(_rounded, values.tolist())]
        for threshold, hit, alarm, values in zip(thresholds, hits, alarms, numbers, strict=True)
    ]
    nearest = int(np.abs(thresholds - (0.5 if limit is None else limit)).argmin())
    return {
        "name": name,
        "positives": shown,
        "negatives": others,
        "share": share,
        "chosen": nearest,
        "points": rows,
    }


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)


def reliability(
    answers: Answers, dataset: Dataset, *, logarithmic: bool
) -> tuple[list[JsonObject], str]:
    """Bins of the probabilities, and how often the label is really shown."""
    if answers.file.multi_label:
        said = answers.probabilities.ravel()
        true = dataset.truth.ravel()
        caption = (
            "All labels of all images: the probability, and how often the image shows the label."
        )
    else:
        best = answers.probabilities.argmax(axis=1)
        every = np.arange(len(best))
        said = answers.probabilities[every, best]
        true = dataset.truth[every, best]
        caption = (
            "The most likely label's probability, and how often the image shows it. Unlabelled "
            "images always count as wrong."
        )
    weight = independent_weight(np.ones(len(dataset.groups), np.bool_), dataset.groups)
    edges = [number / BINS for number in range(BINS + 1)]
    if logarithmic:
        edges = [0.0, *(10.0**power for power in range(1 - DECADES, 1))]
    bins = np.searchsorted(edges[1:-1], said, side="right")
    found = []
    for number in range(len(edges) - 1):
        inside = bins == number
        if inside.any():
            ends = wilson(true[inside].sum(), inside.sum(), weight)
            share, low, high = (float(value) for value in ends)
            found.append(
                {
                    "from": edges[number],
                    "to": edges[number + 1],
                    "count": int(inside.sum()),
                    "mean": float(said[inside].mean()),
                    "share": share,
                    "low": low,
                    "high": high,
                }
            )
    return found, caption
