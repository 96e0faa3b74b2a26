"""How good answers are, with 95 % intervals that don't take pictures of one group for independent. In numpy alone."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from classifier.model.scoring import Floats

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
# A number and the ends of its 95 % interval.
Triple = tuple[float, float, float]
OUTSIDE = 0.05
# The bootstrap's draws; fewer for so many pictures that they would fill the memory.
DRAWS = 300
MAX_CELLS = 20_000_000
MIN_DRAWS = 100
STEPS = 50


@lru_cache(1)
def _log_factorials(count: int) -> Floats:
    found: Floats = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])
    return found


def at_most(hits: int, count: int, share: float) -> float:
    """The probability of at most so many hits of `count`, of which each is one with the probability `share`."""
    if share <= 0 or hits >= count:
        return 1.0
    if share >= 1:
        return 0.0
    # One table serves all counts up to the next power of two.
    logs, i = _log_factorials(1 << count.bit_length()), np.arange(hits + 1)
    terms = logs[count] - logs[i] - logs[count - i] + i * np.log(share) + (count - i) * np.log1p(-share)
    return min(1.0, float(np.exp(terms).sum()))


@lru_cache(100_000)
def upper_bound(hits: int, count: int, error: float) -> float:
    """Clopper-Pearson's: the share is below it but for `error` of all draws."""
    low, high = hits / count, 1.0
    for _ in range(STEPS if hits < count else 0):
        middle = (low + high) / 2
        low, high = (middle, high) if at_most(hits, count, middle) > error else (low, middle)
    return high


def lower_bound(hits: int, count: int, error: float) -> float:
    return 1 - upper_bound(count - hits, count, error)


def interval(hits: int, count: int) -> Triple:
    """A share and its Clopper-Pearson interval."""
    return hits / count, lower_bound(hits, count, OUTSIDE / 2), upper_bound(hits, count, OUTSIDE / 2)


def wilson(hits: Floats | Ints, counts: Floats | Ints, each: float = 1.0) -> tuple[Floats, Floats, Floats]:
    """Shares and their intervals, for many at once: closer than Clopper-Pearson's, and in no time. NaN where there is nothing to count.

    `each`: as how many independent pictures one counts.
    """
    z = 1.959963984540054
    with np.errstate(invalid="ignore", divide="ignore"):
        share, n = np.true_divide(hits, counts), np.asarray(counts, np.float64) * each
        middle, half = share + z * z / (2 * n), z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
        scale = 1 + z * z / n
        return share, np.clip((middle - half) / scale, 0, 1), np.clip((middle + half) / scale, 0, 1)


def independent(among: Bools, groups: Ints) -> float:
    """As how many independent pictures each of these counts, where a group counts once."""
    return len(np.unique(groups[among])) / max(1, int(among.sum()))


class Draws:
    """How often each picture is in each draw of the bootstrap: float32 [B, N]. Groups are drawn whole."""

    def __init__(self, groups: Ints) -> None:
        self.groups = np.unique(groups, return_inverse=True)[1]
        count = int(self.groups.max()) + 1 if len(groups) else 0
        self.grouped = count < len(groups)
        draws = max(MIN_DRAWS, min(DRAWS, MAX_CELLS // max(1, len(groups))))
        rng = np.random.default_rng(0)
        times = np.stack([np.bincount(rng.integers(count, size=count), minlength=count) for _ in range(draws)])
        self.times: NDArray[np.float32] = times[:, self.groups].astype(np.float32)

    def share(self, hits: Bools, among: Bools) -> Triple | None:
        """The share of hits among these pictures. Where there are groups, no closer than if each were one picture."""
        if not (count := int(among.sum())):
            return None
        found = int((hits & among).sum())
        if not self.grouped:
            return interval(found, count)
        with np.errstate(invalid="ignore", divide="ignore"):
            low, high = self.ends((self.times @ (hits & among)) / (self.times @ among))
        groups = len(np.unique(self.groups[among]))
        _, least, most = interval(round(found / count * groups), groups)
        return found / count, min(low, least), max(high, most)

    @staticmethod
    def ends(values: NDArray[np.floating]) -> tuple[float, float]:
        known = values[np.isfinite(values)]
        if not len(known):
            return 0.0, 1.0
        low, high = np.quantile(known, [OUTSIDE / 2, 1 - OUTSIDE / 2])
        return float(low), float(high)


def measure(
    shown: Bools, shares: Floats, threshold: float | None, draws: Draws, prevalence: float | None
) -> dict[str, Triple | None]:
    """One name's numbers: `shown` [N] tells which pictures show it, `shares` [N] how probable it was said to be.

    Precision, F1 and average precision are of a mix where `prevalence` of all pictures show it; without, of this one.
    """
    found: dict[str, Triple | None] = dict.fromkeys(("precision", "recall", "false_alarms", "f1", "average_precision"))
    if threshold is None and not shown.any():
        return found
    times = np.concatenate([np.ones((1, len(shown)), np.float32), draws.times])
    with np.errstate(invalid="ignore", divide="ignore"):
        weights = _weights(times, shown, prevalence)
        if shown.any():
            found["average_precision"] = _triple(_average_precision(weights, shown, shares))
        if threshold is None:
            return found
        counted = shares >= threshold
        found["recall"], found["false_alarms"] = draws.share(counted, shown), draws.share(counted, ~shown)
        right, alarms, all_shown = (weights @ mask.astype(np.float64) for mask in (counted & shown, counted & ~shown, shown))
        if counted.any():
            given = prevalence is not None and shown.any() and not shown.all()
            found["precision"] = _triple(right / (right + alarms)) if given else draws.share(shown, counted)
        if shown.any():
            found["f1"] = _triple(2 * right / (right + alarms + all_shown))
    return found


def _weights(times: NDArray[np.float32], shown: Bools, prevalence: float | None) -> Floats:
    """Each draw's pictures, weighted so that `prevalence` of them show it."""
    weights = times.astype(np.float64)
    if prevalence is not None and shown.any() and not shown.all():
        weights[:, shown] *= prevalence / weights[:, shown].sum(axis=1, keepdims=True)
        weights[:, ~shown] *= (1 - prevalence) / weights[:, ~shown].sum(axis=1, keepdims=True)
    return weights


def _average_precision(weights: Floats, shown: Bools, shares: Floats) -> Floats:
    """Of each draw: the mean, over the pictures that show it, of the precision at their place in the order. Ties count together."""
    order = np.argsort(-shares, kind="stable")
    # The last place of those that share a place.
    last = np.searchsorted(-shares[order], -shares[order], side="right") - 1
    ranked = weights[:, order]
    right = np.where(shown[order], ranked, 0.0)
    precision = (np.cumsum(right, axis=1) / np.cumsum(ranked, axis=1))[:, last]
    found: Floats = np.where(right > 0, right * precision, 0.0).sum(axis=1) / right.sum(axis=1)
    return found


def _triple(values: Floats) -> Triple:
    """The number of the pictures as they are comes first, then the draws'."""
    return float(values[0]), *Draws.ends(values[1:])


def accuracies(taken: Ints, truth: Bools, draws: Draws) -> tuple[Triple | None, Triple | None]:
    """Accuracy and balanced accuracy, of the pictures that show a name. `taken` [N]: the most likely name, -1 for none of them."""
    right = _right(taken, truth)
    names = np.flatnonzero(truth.any(axis=0))
    if not len(names):
        return None, None
    times = np.concatenate([np.ones((1, len(truth)), np.float32), draws.times])
    return draws.share(right, np.asarray(truth.any(axis=1))), _triple(_balanced(times, taken, truth))


def _right(taken: Ints, truth: Bools) -> Bools:
    found: Bools = truth[np.arange(len(taken)), taken] & (taken >= 0)
    return found


def _balanced(times: NDArray[np.float32], taken: Ints, truth: Bools) -> Floats:
    """The mean, over the names, of the share of its pictures that are taken for it."""
    recalls = []
    with np.errstate(invalid="ignore", divide="ignore"):
        for name in np.flatnonzero(truth.any(axis=0)):
            shown = truth[:, name]
            recalls.append((times @ (shown & (taken == name))) / (times @ shown))
    # A draw may have no picture of a name.
    found: Floats = np.nanmean(np.array(recalls, np.float64), axis=0)
    return found


def accuracy_differences(first: Ints, second: Ints, truth: Bools, draws: Draws) -> dict[str, Triple]:
    """Of two classifiers on the same pictures, so that what is hard for both doesn't widen the interval."""
    if not truth.any():
        return {}
    times, shown = np.concatenate([np.ones((1, len(truth)), np.float32), draws.times]), truth.any(axis=1)
    gain = (_right(first, truth).astype(np.float64) - _right(second, truth)) * shown
    with np.errstate(invalid="ignore", divide="ignore"):
        plain = (times @ gain) / (times @ shown)
    return {
        "accuracy": _triple(plain),
        "balanced accuracy": _triple(_balanced(times, first, truth) - _balanced(times, second, truth)),
    }


def average_precision_difference(shown: Bools, first: Floats, second: Floats, draws: Draws, prevalence: float | None) -> Triple:
    weights = _weights(np.concatenate([np.ones((1, len(shown)), np.float32), draws.times]), shown, prevalence)
    with np.errstate(invalid="ignore", divide="ignore"):
        return _triple(_average_precision(weights, shown, first) - _average_precision(weights, shown, second))


def mean_average_precision(truth: Bools, shares: Floats, draws: Draws, less: Floats | None = None) -> Triple | None:
    """The mean over the names that a picture shows, of `shares` [N, L] or of what they have more than `less`."""
    times, each = np.concatenate([np.ones((1, len(truth)), np.float32), draws.times]).astype(np.float64), []
    with np.errstate(invalid="ignore", divide="ignore"):
        for i in np.flatnonzero(truth.any(axis=0)):
            found = _average_precision(times, truth[:, i], shares[:, i])
            each.append(found if less is None else found - _average_precision(times, truth[:, i], less[:, i]))
    return _triple(np.nanmean(each, axis=0)) if each else None
