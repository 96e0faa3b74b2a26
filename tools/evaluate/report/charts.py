"""What the report draws: confusions, curves over the threshold, and whether the probabilities hold."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from classifier.contract.strict_json import JsonObject
from classifier.model.scoring import Floats
from tools.evaluate.dataset import Answers, Material
from tools.evaluate.judging.measures import Bools, Ints, independent, wilson
from tools.evaluate.pictures import OTHER
from tools.evaluate.report.galleries import Side

# So many names have their confusion shown as a matrix; of more, the most frequent mistakes are listed.
MATRIX = 30
CONFUSED = 30
# Points of a curve, fewer where there are many names.
POINTS = 200
TOTAL_POINTS = 10_000
BINS = 10


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


def curve(
    name: str, shown: Bools, shares: Floats, groups: Ints, limit: float | None, prevalence: float | None, points: int
) -> JsonObject:
    """For the report: each point has a threshold, true and false positives, then precision, recall and false alarms with intervals."""
    positives, count = int(shown.sum()), len(shown)
    share = prevalence or positives / count
    thresholds = np.array(grid(shares, [] if limit is None else [limit], points))
    hits, alarms = (len(part) - np.searchsorted(np.sort(part), thresholds) for part in (shares[shown], shares[~shown]))
    precision, recall, rate = (
        wilson(hits, hits + alarms, independent(np.ones_like(shown), groups)),
        wilson(hits, np.array(positives), independent(shown, groups)),
        wilson(alarms, np.array(count - positives), independent(~shown, groups)),
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


def reliability(answers: Answers, material: Material) -> tuple[list[JsonObject], str]:
    """Bins of the probabilities, and how often what they say is true."""
    if answers.file.multi_label:
        said, true = answers.probabilities.ravel(), material.truth.ravel()
        caption = "Of all names of all pictures: how probable each was said to be, and how often the picture shows it."
    else:
        best = answers.probabilities.argmax(axis=1)
        each = np.arange(len(best))
        said, true = answers.probabilities[each, best], material.truth[each, best]
        caption = "How probable the most likely name was said to be, and how often the picture shows it; pictures of none of the names are wrong with any."
    pictures = independent(np.ones(len(material.groups), np.bool_), material.groups)
    bins = np.minimum((said * BINS).astype(int), BINS - 1)
    found = []
    for number in range(BINS):
        inside = bins == number
        if inside.any():
            share, low, high = (float(value) for value in wilson(true[inside].sum(), inside.sum(), pictures))
            found.append({
                "from": number / BINS, "to": (number + 1) / BINS, "count": int(inside.sum()), "mean": float(said[inside].mean()),
                "share": share, "low": low, "high": high,
            })  # fmt: skip
    return found, caption
