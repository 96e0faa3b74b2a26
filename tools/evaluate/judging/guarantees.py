"""Thresholds: those that keep a promise on pictures to come, and those that were the best on these."""

import math

import numpy as np

from classifier.model.scoring import Floats
from tools.evaluate.judging.measures import Bools, Ints, at_most

# Of all promises of a run together.
ERROR = 0.05


def promised(shown: Bools, shares: Floats, groups: Ints, kind: str, level: float, error: float) -> tuple[float | None, str]:
    """The laxest threshold that keeps the promise but for `error` of all folders, or what would do.

    `kind`: precision, recall (at least `level`) or false_alarms (at most). Fixed-sequence testing (Learn then Test, arXiv 2110.01052):
    thresholds are tried in an order that doesn't depend on what the pictures show, and the first that fails ends it. A group counts once,
    by its worst picture.
    """
    worst, best = _extremes(shares, shown, groups)
    alarm = _extremes(shares, ~shown, groups)[1]
    counted = np.fmax(best, alarm)
    if kind == "recall":
        # From lax to strict: the strictest threshold that still finds enough.
        values, passing = np.sort(worst[np.isfinite(worst)]), None
        for threshold in reversed(_strict_to_lax(values)):
            if not _keeps(len(values) - int(np.searchsorted(values, threshold)), len(values), level, error):
                break
            passing = threshold
        return passing, "" if passing is not None else f"{len(values):,} show it; {_would_do(level, error, 'that are all found')}"
    if kind == "false_alarms":
        values = alarm[np.isfinite(alarm)]
        level, passing = 1 - level, None
        for threshold in _strict_to_lax(counted):
            hits = int((values >= threshold).sum())
            if not len(values) or not _keeps(len(values) - hits, len(values), level, error):
                break
            passing = threshold
        return (
            passing,
            "" if passing is not None else f"{len(values):,} don't show it; {_would_do(level, error, 'without an alarm')}",
        )
    passing, least = None, fewest(level, error)
    for threshold in _strict_to_lax(counted):
        count = int((counted >= threshold).sum())
        if count < least:
            continue
        # Not a number is never below.
        right = int(((best >= threshold) & ~(alarm >= threshold)).sum())
        if not _keeps(right, count, level, error):
            break
        passing = threshold
    return (
        passing,
        ""
        if passing is not None
        else f"the surest have too many errors; {_would_do(level, error, 'that count without an error')}",
    )


def _extremes(shares: Floats, among: Bools, groups: Ints) -> tuple[Floats, Floats]:
    """Each group's lowest and highest share among these pictures; NaN for a group without any."""
    numbers = np.unique(groups, return_inverse=True)[1]
    count = int(numbers.max()) + 1 if len(numbers) else 0
    lowest, highest = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(lowest, numbers[among], shares[among])
    np.maximum.at(highest, numbers[among], shares[among])
    return np.where(np.isfinite(lowest), lowest, np.nan), np.where(np.isfinite(highest), highest, np.nan)


def _strict_to_lax(shares: Floats) -> list[float]:
    """What lies at 0 never counts."""
    return [float(value) for value in np.unique(shares)[::-1] if value > 0]


def _keeps(hits: int, count: int, level: float, error: float) -> bool:
    """Whether the lower Clopper-Pearson bound of the share of hits is at least `level`."""
    return at_most(count - hits, count, 1 - level) <= error


def fewest(level: float, error: float, wrong: int = 0) -> int:
    """How many pictures can show a share of at least `level` with so many errors among them."""
    count = max(wrong + 1, math.ceil(math.log(error) / math.log(level)))
    while not _keeps(count - wrong, count, level, error):
        count += 1
    return count


def _would_do(level: float, error: float, how: str) -> str:
    return f"{fewest(level, error):,} {how} would do, or {fewest(level, error, 1):,} with one error"


def estimated(shown: Bools, shares: Floats, cost: tuple[float, float] | None) -> float | None:
    """The threshold of the best F1 on these pictures, or of the least cost of misses and alarms; the strictest where several are."""
    thresholds = np.unique(shares[shares > 0])[::-1]
    if not shown.any() or not len(thresholds):
        return None
    right, alarms = (len(part) - np.searchsorted(np.sort(part), thresholds) for part in (shares[shown], shares[~shown]))
    missed = int(shown.sum()) - right
    gain = 2 * right / (2 * right + missed + alarms) if cost is None else -(cost[0] * missed + cost[1] * alarms)
    return float(thresholds[np.argmax(gain)])
