"""Bounds on a share that was estimated from a count, and the shares that a count can prove."""

from bisect import bisect_left
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, betaincinv, ndtri

from classifier.model.scoring import Floats

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
# A number and the ends of its interval.
Triple = tuple[float, float, float]
# Intervals leave this much of the probability outside, half of it at each end.
ALPHA = 0.05
MAX_COUNT = 1 << 30


def binomial_cdf(hits: int, count: int, share: float) -> float:
    """The probability of at most `hits` hits among `count` if each has the probability `share`."""
    return float(bdtr(hits, count, share))


def lower_bound(hits: int, count: int, error: float) -> float:
    """The one-sided Clopper-Pearson bound, which the true share misses in `error` of all draws."""
    return float(betaincinv(hits, count - hits + 1, error)) if hits else 0.0


def interval(hits: int, count: int) -> Triple:
    """A share and its two-sided Clopper-Pearson interval."""
    lower = lower_bound(hits, count, ALPHA / 2)
    return hits / count, lower, 1 - lower_bound(count - hits, count, ALPHA / 2)


def wilson(
    hits: Floats | Ints, counts: Floats | Ints, weight: float = 1.0
) -> tuple[Floats, Floats, Floats]:
    """Shares and their Wilson intervals, for whole arrays. NaN if the count is 0.

    `weight`: how many independent images one image is worth. The formula is written out because
    scipy's takes one whole count at a time.
    """
    z = float(ndtri(1 - ALPHA / 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.true_divide(hits, counts)
        n = np.asarray(counts, np.float64) * weight
        middle = share + z * z / (2 * n)
        half = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
        scale = 1 + z * z / n
        return share, np.clip((middle - half) / scale, 0, 1), np.clip((middle + half) / scale, 0, 1)


def independent_weight(among: Bools, groups: Ints) -> float:
    """How many independent images each of these images is worth, if a group is worth one."""
    return len(np.unique(groups[among])) / max(1, int(among.sum()))


def most_errors(count: int, level: float, error: float) -> int:
    """How many errors `count` images may have and still prove a share of at least `level`.

    -1 if even no error proves it. It is proven if the lower Clopper-Pearson bound reaches `level`.
    """
    errors = np.arange(int(count * (1 - level)) + 1)
    return int((bdtr(errors, count, 1 - level) <= error).sum()) - 1


@lru_cache(100_000)
def proving_count(level: float, error: float, errors: int = 0) -> int:
    """The fewest images that prove a share of at least `level` with `errors` errors among them."""
    counts = range(errors + 1, MAX_COUNT)

    def proves(count: int) -> bool:
        return binomial_cdf(errors, count, 1 - level) <= error

    return counts[bisect_left(counts, True, key=proves)]


def reaching(probabilities: Floats, thresholds: Floats) -> Ints:
    """How many probabilities reach each threshold."""
    return np.asarray(len(probabilities) - np.searchsorted(np.sort(probabilities), thresholds))
