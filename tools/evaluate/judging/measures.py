"""How good answers are, with 95 % intervals. Images of one group don't count as independent."""

import warnings

import numpy as np
from numpy.typing import NDArray

from classifier.model.scoring import Floats
from tools.evaluate.judging.intervals import ALPHA, Bools, Ints, Triple, interval

# The bootstrap's draws; fewer if there are more images than the memory can hold.
DRAWS = 300
MAX_CELLS = 20_000_000
MIN_DRAWS = 100


class Draws:
    """How often each image is in each draw of the bootstrap: float32 [B, N].

    Groups are drawn whole.
    """

    def __init__(self, groups: Ints) -> None:
        self.groups = np.unique(groups, return_inverse=True)[1]
        count = int(self.groups.max()) + 1 if len(groups) else 0
        self.grouped = count < len(groups)
        draws = max(MIN_DRAWS, min(DRAWS, MAX_CELLS // max(1, len(groups))))
        rng = np.random.default_rng(0)
        drawn = (rng.integers(count, size=count) for _ in range(draws))
        times = np.stack([np.bincount(numbers, minlength=count) for numbers in drawn])
        self.times: NDArray[np.float32] = times[:, self.groups].astype(np.float32)

    def with_original(self) -> NDArray[np.float32]:
        """The images as they are come first, then the draws: float32 [1 + B, N]."""
        return np.concatenate([np.ones((1, self.times.shape[1]), np.float32), self.times])

    def share(self, hits: Bools, among: Bools) -> Triple | None:
        """The share of hits among these images.

        With groups, the interval is no narrower than if each group were one image.
        """
        if not (count := int(among.sum())):
            return None
        found = int((hits & among).sum())
        if not self.grouped:
            return interval(found, count)
        with np.errstate(invalid="ignore", divide="ignore"):
            low, high = self.ends((self.times @ (hits & among)) / (self.times @ among))
        groups = len(np.unique(self.groups[among]))
        _, lowest, highest = interval(round(found / count * groups), groups)
        return found / count, min(low, lowest), max(high, highest)

    @staticmethod
    def ends(values: NDArray[np.floating]) -> tuple[float, float]:
        known = values[np.isfinite(values)]
        if not len(known):
            return 0.0, 1.0
        low, high = np.quantile(known, [ALPHA / 2, 1 - ALPHA / 2])
        return float(low), float(high)


def measure(
    positives: Bools,
    probabilities: Floats,
    threshold: float | None,
    draws: Draws,
    prevalence: float | None,
) -> dict[str, Triple | None]:
    """One label's numbers. `positives` [N]: which images show it; `probabilities` [N].

    Precision, F1 and average precision are those of a mix in which `prevalence` of all images show
    the label; without it, of the mix of these images.
    """
    names = ("precision", "recall", "false_alarms", "f1", "average_precision")
    found: dict[str, Triple | None] = dict.fromkeys(names)
    if threshold is None and not positives.any():
        return found
    with np.errstate(invalid="ignore", divide="ignore"):
        weights = _weights(draws.with_original(), positives, prevalence)
        if positives.any():
            averages = _average_precision(weights, positives, probabilities)
            found["average_precision"] = _triple(averages)
        if threshold is None:
            return found
        detected = probabilities >= threshold
        found["recall"] = draws.share(detected, positives)
        found["false_alarms"] = draws.share(detected, ~positives)
        right = weights @ (detected & positives).astype(np.float64)
        wrong = weights @ (detected & ~positives).astype(np.float64)
        if detected.any():
            reweighted = prevalence is not None and positives.any() and not positives.all()
            precision = _triple(right / (right + wrong)) if reweighted else None
            found["precision"] = precision or draws.share(positives, detected)
        if positives.any():
            all_positives = weights @ positives.astype(np.float64)
            found["f1"] = _triple(2 * right / (right + wrong + all_positives))
    return found


def _weights(times: NDArray[np.float32], positives: Bools, prevalence: float | None) -> Floats:
    """Each draw's images, weighted so that `prevalence` of them show the label."""
    weights = times.astype(np.float64)
    if prevalence is not None and positives.any() and not positives.all():
        for mask, share in ((positives, prevalence), (~positives, 1 - prevalence)):
            weights[:, mask] *= share / weights[:, mask].sum(axis=1, keepdims=True)
    return weights


def _average_precision(weights: Floats, positives: Bools, probabilities: Floats) -> Floats:
    """For each draw, the mean of the precision at the ranks of the positives. Ties share a rank."""
    order = np.argsort(-probabilities, kind="stable")
    ranked_probabilities = -probabilities[order]
    last_of_tie = np.searchsorted(ranked_probabilities, ranked_probabilities, side="right") - 1
    ranked = weights[:, order]
    right = np.where(positives[order], ranked, 0.0)
    precision = (np.cumsum(right, axis=1) / np.cumsum(ranked, axis=1))[:, last_of_tie]
    weighted = np.where(right > 0, right * precision, 0.0)
    found: Floats = weighted.sum(axis=1) / right.sum(axis=1)
    return found


def _triple(values: Floats) -> Triple:
    """`values`: of the images as they are, then of the draws."""
    return float(values[0]), *Draws.ends(values[1:])


def accuracies(predicted: Ints, truth: Bools, draws: Draws) -> tuple[Triple | None, Triple | None]:
    """Accuracy and balanced accuracy of the images that show a label.

    `predicted` [N]: the number of a label, -1 for none of them.
    """
    right = _right(predicted, truth)
    if not truth.any():
        return None, None
    balanced = _balanced(draws.with_original(), predicted, truth)
    return draws.share(right, np.asarray(truth.any(axis=1))), _triple(balanced)


def _right(predicted: Ints, truth: Bools) -> Bools:
    found: Bools = truth[np.arange(len(predicted)), predicted] & (predicted >= 0)
    return found


def _balanced(times: NDArray[np.float32], predicted: Ints, truth: Bools) -> Floats:
    """For each draw, the mean of the labels' recalls."""
    recalls = []
    with np.errstate(invalid="ignore", divide="ignore"):
        for label in np.flatnonzero(truth.any(axis=0)):
            positives = truth[:, label]
            recalls.append((times @ (positives & (predicted == label))) / (times @ positives))
    # A draw may have no image of a label, or of any.
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        found: Floats = np.nanmean(np.array(recalls, np.float64), axis=0)
    return found


def accuracy_differences(
    first: Ints, second: Ints, truth: Bools, draws: Draws
) -> dict[str, Triple]:
    """Of two classifiers on the same images, so that images hard for both widen no interval."""
    if not truth.any():
        return {}
    times = draws.with_original()
    labelled = truth.any(axis=1)
    gain = (_right(first, truth).astype(np.float64) - _right(second, truth)) * labelled
    with np.errstate(invalid="ignore", divide="ignore"):
        plain = (times @ gain) / (times @ labelled)
    balanced = _balanced(times, first, truth) - _balanced(times, second, truth)
    return {"accuracy": _triple(plain), "balanced accuracy": _triple(balanced)}


def average_precision_difference(
    positives: Bools, first: Floats, second: Floats, draws: Draws, prevalence: float | None
) -> Triple:
    with np.errstate(invalid="ignore", divide="ignore"):
        weights = _weights(draws.with_original(), positives, prevalence)
        better = _average_precision(weights, positives, first)
        return _triple(better - _average_precision(weights, positives, second))


def mean_average_precision(
    truth: Bools, probabilities: Floats, draws: Draws, less: Floats | None = None
) -> Triple | None:
    """The mean over the labels that an image shows; minus that of `less` if it is given.

    `probabilities` and `less`: [N, L].
    """
    times = draws.with_original().astype(np.float64)
    averages = []
    with np.errstate(invalid="ignore", divide="ignore"):
        for i in np.flatnonzero(truth.any(axis=0)):
            found = _average_precision(times, truth[:, i], probabilities[:, i])
            if less is not None:
                found = found - _average_precision(times, truth[:, i], less[:, i])
            averages.append(found)
    return _triple(np.nanmean(averages, axis=0)) if averages else None
