"""Thresholds that keep a guarantee on images to come, and thresholds that were best on these."""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from classifier.model.scoring import Floats
from tools.evaluate.judging.intervals import (
    Bools,
    Ints,
    binomial_cdf,
    most_errors,
    proving_count,
    reaching,
)

# Of all guarantees of a run together.
ERROR = 0.05
# The first test of a precision allows up to START_ERRORS errors if it takes at most this share of
# the number of images that show the label, and more if it takes at most LATE_START_SHARE. So a few
# errors among the surest, such as images in the wrong folder, don't end the search, and a label of
# which the model finds few can still pass. docs/evaluate.md has the figures.
START_SHARE = 0.4
START_ERRORS = 2
LATE_START_SHARE = 0.15
# At most this many times as many images are asked for. More are as good as never.
MOST_TIMES = 20
WONT_HELP = (
    "More images like these won't help: choose other words, teach it by examples (make learn), or "
    "guarantee less."
)
HEAD_WONT_HELP = (
    "More images to choose a threshold by won't help: teach it by more or clearer examples, or "
    "guarantee less."
)


class Threshold(NamedTuple):
    """`value`: None if no threshold keeps the guarantee; `why`: then a sentence for the user."""

    value: float | None
    why: str = ""


class Groups(NamedTuple):
    """The groups of images as the tests need them, each by its worst image.

    `found`: of each group that shows the label, the lowest probability of the images that do,
    ascending. `alarms`: of each group with an image that doesn't show it, the highest of those,
    descending. `detections`: of each group its highest, descending.
    """

    found: Floats
    alarms: Floats
    detections: Floats

    @classmethod
    def of(cls, positives: Bools, probabilities: Floats, groups: Ints) -> "Groups":
        numbers = np.unique(groups, return_inverse=True)[1]
        count = int(numbers.max()) + 1 if len(numbers) else 0
        lowest, alarms, highest = (np.full(count, np.nan) for _ in range(3))
        np.fmin.at(lowest, numbers[positives], probabilities[positives])
        np.fmax.at(alarms, numbers[~positives], probabilities[~positives])
        np.fmax.at(highest, numbers, probabilities)
        # A probability of 0 never counts.
        detections = np.sort(highest[highest > 0])[::-1]
        return cls(np.sort(lowest[~np.isnan(lowest)]), _descending(alarms), detections)

    def wrong(self, threshold: Floats | float) -> Ints:
        """How many groups have an image at this threshold that doesn't show the label."""
        return reaching(self.alarms, np.asarray(threshold))


def guaranteed(
    positives: Bools, probabilities: Floats, groups: Ints, kind: str, level: float, error: float
) -> Threshold:
    """The lowest threshold that keeps the guarantee, except in `error` of all folders.

    `kind`: precision or recall (at least `level`) or false_alarms (at most `level`). Fixed-sequence
    testing (Learn then Test, https://arxiv.org/abs/2110.01052): thresholds are tested in an order
    that doesn't depend on which images show the label, and the first that fails ends it. A group
    counts once, by its worst image.
    """
    found = Groups.of(positives, probabilities, groups)
    test = {"precision": _precision, "recall": _recall, "false_alarms": _false_alarms}[kind]
    return test(found, level, error)


def _recall(groups: Groups, level: float, error: float) -> Threshold:
    """The higher a threshold, the more it misses."""
    allowed = most_errors(len(groups.found), level, error)
    if allowed < 0:
        least = proving_count(level, error)
        return Threshold(None, too_few(len(groups.found), least, "images that show it"))
    if groups.found[allowed] > 0:
        return Threshold(float(groups.found[allowed]))
    return Threshold(None, f"min_similarity lets more than {allowed:,} images of it go.")


def _false_alarms(groups: Groups, level: float, error: float) -> Threshold:
    """The lower a threshold, the more alarms it gives."""
    allowed = most_errors(len(groups.alarms), 1 - level, error)
    if allowed < 0:
        least, subject = proving_count(1 - level, error), "images that don't show it"
        return Threshold(None, too_few(len(groups.alarms), least, subject))
    passing = groups.detections[groups.detections > groups.alarms[allowed]]
    if len(passing):
        return Threshold(float(passing[-1]))
    return Threshold(None, f"the surest images don't show it. {WONT_HELP}")


def _precision(groups: Groups, level: float, error: float) -> Threshold:
    """Tested on the surest groups, and on more of them as long as the test passes.

    Only counts at which one more error may pass are tested; any count between them is harder.
    """
    errors = start_errors(len(groups.found), level, error)
    passing = None
    while (count := proving_count(level, error, errors)) <= len(groups.detections):
        threshold = float(groups.detections[count - 1])
        # More than `count` if several share this probability.
        detected = int((groups.detections >= threshold).sum())
        if groups.wrong(threshold) > most_errors(detected, level, error):
            break
        passing = threshold
        errors += 1
    return Threshold(passing, "" if passing is not None else _no_precision(groups, level, error))


@lru_cache(100_000)
def start_errors(shown: int, level: float, error: float) -> int:
    """How many errors the first test of a precision allows if `shown` groups show the label."""
    errors = 0
    while proving_count(level, error, errors + 1) <= shown * (
        START_SHARE if errors < START_ERRORS else LATE_START_SHARE
    ):
        errors += 1
    return errors


def _no_precision(groups: Groups, level: float, error: float) -> str:
    """Says what was found, what is missing and what to do."""
    shown = len(groups.found)
    if not shown or not len(groups.detections):
        return "min_similarity lets no image count." if shown else "no image shows it."
    errors = start_errors(shown, level, error)
    count = proving_count(level, error, errors)
    few = min(shown, len(groups.detections)) < count
    if few:
        found = f"there are {shown:,} images that show it, and {count:,} would be needed if "
        found += "there is no error among them."
    else:
        wrong = int(groups.wrong(groups.detections[count - 1]))
        verb = "doesn't" if wrong == 1 else "don't"
        found = f"of the {count:,} surest images, {wrong:,} {verb} show it, and "
        found += f"at most {errors:,} may." if errors else "none may."
    times = times_as_many(groups.wrong(groups.detections), shown, level, error)
    if times is None and not few:
        return f"{found} {WONT_HELP}"
    about = "at least" if times is None else "about"
    times = times or math.ceil(10 * count / max(shown, 1)) / 10
    return (
        f"{found} It takes {about} {times:g} times as many images of every kind: "
        f"{math.ceil(times * shown):,} that show it instead of {shown:,}."
    )


def times_as_many(wrong: Ints, shown: int, level: float, error: float) -> float | None:
    """How many times as many groups would pass the first test if the share of errors stayed.

    None if it takes more than MOST_TIMES. `wrong`: how many of the surest 1, 2, 3, … groups are
    errors; the share is the least of them, counted with one more error.
    """
    share = float(((wrong + 1) / np.arange(2, len(wrong) + 2)).min())
    for tenths in range(11, 10 * MOST_TIMES + 1):
        errors = start_errors(shown * tenths // 10, level, error)
        if binomial_cdf(errors, proving_count(level, error, errors), share) >= 0.5:
            return tenths / 10
    return None


def too_few(count: int, least: int, subject: str) -> str:
    missing = least - count
    return (
        f"there are {count:,} {subject}, and {least:,} would be needed if there is no error among "
        f"them: add at least {missing:,}."
    )


def estimated(
    positives: Bools, probabilities: Floats, cost: tuple[float, float] | None
) -> float | None:
    """The threshold of the best F1 on these images, or of the least cost of misses and alarms.

    The highest if several are best.
    """
    thresholds = np.unique(probabilities[probabilities > 0])[::-1]
    if not positives.any() or not len(thresholds):
        return None
    right = reaching(probabilities[positives], thresholds)
    alarms = reaching(probabilities[~positives], thresholds)
    missed = int(positives.sum()) - right
    if cost is None:
        gain = 2 * right / (2 * right + missed + alarms)
    else:
        gain = -(cost[0] * missed + cost[1] * alarms)
    return float(thresholds[np.argmax(gain)])


def _descending(values: Floats) -> Floats:
    return np.sort(values[~np.isnan(values)])[::-1]
