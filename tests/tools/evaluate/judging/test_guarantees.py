"""Guarantees, on draws from worlds whose truth is known."""

from collections.abc import Callable

import numpy as np
import pytest

from tools.evaluate.judging.guarantees import (
    Threshold,
    estimated,
    guaranteed,
    start_errors,
)
from tools.evaluate.judging.intervals import Bools, binomial_cdf, proving_count

DRAWS = 300
ERROR = 0.05


def world(rng: np.random.Generator, count: int) -> tuple[Bools, np.ndarray]:
    """Probabilities that are exactly how often the label is shown."""
    probabilities = rng.beta(0.6, 1.2, count)
    return rng.random(count) < probabilities, probabilities


def true_share(kind: str) -> Callable[[float], float]:
    positives, probabilities = world(np.random.default_rng(99), 1_000_000)
    if kind == "precision":
        return lambda threshold: float(positives[probabilities >= threshold].mean())
    among = probabilities[positives if kind == "recall" else ~positives]
    return lambda threshold: float((among >= threshold).mean())


def by_chance(broken: int, draws: int) -> bool:
    """Whether this many or more come in one of a thousand runs if 5 % of the draws break it."""
    return not broken or binomial_cdf(broken - 1, draws, ERROR) < 0.999


KINDS = [("precision", 0.85), ("recall", 0.8), ("false_alarms", 0.1)]


@pytest.mark.parametrize(("kind", "level"), KINDS)
@pytest.mark.parametrize("count", [150, 1000])
def test_at_most_five_of_a_hundred_draws_break_a_guarantee(
    kind: str, level: float, count: int
) -> None:
    rng = np.random.default_rng(3)
    share = true_share(kind)
    broken = passed = 0
    for _ in range(DRAWS):
        found = guaranteed(*world(rng, count), np.arange(count), kind, level, ERROR)
        if found.value is None:
            assert "images" in found.why
            continue
        passed += 1
        true = share(found.value)
        broken += true > level if kind == "false_alarms" else true < level
    assert passed > (0 if count == 150 else 0.5 * DRAWS)
    assert by_chance(broken, DRAWS)


@pytest.mark.parametrize("level", [0.8, 0.95])
@pytest.mark.parametrize("count", [60, 250, 600])
@pytest.mark.parametrize("tail", [False, True], ids=["all", "surest"])
def test_a_precision_just_missed_everywhere_passes_in_five_of_a_hundred_draws(
    level: float, count: int, tail: bool
) -> None:
    """The worst world: every threshold breaks the guarantee, wherever the test begins. With `tail`
    only the surest quarter does, so that the number of images that show the label is a small part
    of all and decides where the test begins."""
    rng = np.random.default_rng(7)
    broken = 0
    for _ in range(2 * DRAWS):
        probabilities = rng.random(count)
        often = (probabilities > 0.75) | (not tail)
        positives = rng.random(count) < np.where(often, level - 1e-6, 0.05)
        found = guaranteed(positives, probabilities, np.arange(count), "precision", level, ERROR)
        broken += found.value is not None
    assert by_chance(broken, 2 * DRAWS)


def test_the_best_threshold_on_the_images_breaks_it_in_half_of_all_draws() -> None:
    """Which is why it isn't taken: the tests above could fail."""
    rng = np.random.default_rng(3)
    share = true_share("precision")
    broken = 0
    for _ in range(DRAWS):
        positives, probabilities = world(rng, 1000)
        ranked = positives[np.argsort(-probabilities)]
        precision = np.cumsum(ranked)[::-1] / np.arange(1000, 0, -1)
        broken += share(np.sort(probabilities)[np.argmax(precision >= 0.85)]) < 0.85
    assert broken > 0.4 * DRAWS


def test_a_group_counts_once_by_its_worst_image() -> None:
    probabilities = np.full(200, 0.9)
    positives = np.ones(200, np.bool_)
    each = np.arange(200)
    assert guaranteed(positives, probabilities, each, "recall", 0.95, ERROR).value == 0.9
    assert guaranteed(positives, probabilities, each // 10, "recall", 0.95, ERROR).value is None
    # One of each pair is found late.
    probabilities[::2] = 0.3
    assert guaranteed(positives, probabilities, each // 2, "recall", 0.95, ERROR).value == 0.3
    # One of each pair is an alarm.
    positives = each % 2 == 0
    probabilities = np.full(200, 0.9)
    found = guaranteed(positives, probabilities, each // 2, "precision", 0.1, ERROR)
    assert found.value is None and "of the" in found.why


def ranked(count: int, *wrong: int) -> tuple[Bools, np.ndarray, np.ndarray]:
    """Images by falling probability, of which those at these ranks don't show the label."""
    positives = np.ones(count, np.bool_)
    positives[list(wrong)] = False
    return positives, np.linspace(1, 0.5, count), np.arange(count)


def test_an_error_among_the_surest_does_not_end_the_search() -> None:
    """If several errors may pass, the first test allows some of them."""
    assert start_errors(80, 0.8, ERROR) == 2
    found = guaranteed(*ranked(300, 0, 3), "precision", 0.8, ERROR)
    assert found.value and found.value < 0.51
    assert guaranteed(*ranked(300, *range(9)), "precision", 0.8, ERROR).value is None


def test_few_images_of_a_label_make_the_first_test_one_in_which_no_error_may_pass() -> None:
    count = proving_count(0.95, ERROR)
    assert start_errors(count, 0.95, ERROR) == 0
    assert guaranteed(*ranked(count), "precision", 0.95, ERROR).value == 0.5


def test_with_more_images_the_first_test_allows_more_errors_among_the_surest() -> None:
    errors = start_errors(10_000, 0.8, ERROR)
    assert errors > 200
    assert proving_count(0.8, ERROR, errors) <= 1500


@pytest.mark.parametrize(
    ("kind", "level", "images", "why"),
    [
        ("precision", 0.95, ranked(40), "there are 40 images that show it, and 59 would be needed"),
        (
            "precision",
            0.95,
            ranked(93, 0),
            "of the 59 surest images, 1 doesn't show it, and none may. It takes about",
        ),
        (
            "precision",
            0.95,
            ranked(93, *range(0, 93, 4)),
            "of the 59 surest images, 15 don't show it, and none may. More images like these won't",
        ),
        ("recall", 0.95, ranked(40), "and 59 would be needed if there is no error among them"),
        ("false_alarms", 0.05, ranked(40, 1, 2), "there are 2 images that don't show it, and 59"),
    ],
)
def test_without_a_threshold_it_says_what_was_found_and_what_is_missing(
    kind: str, level: float, images: tuple[Bools, np.ndarray, np.ndarray], why: str
) -> None:
    found = guaranteed(*images, kind, level, ERROR)
    assert found.value is None
    assert why in found.why


def test_as_many_images_as_it_asks_for_give_a_threshold_in_most_folders() -> None:
    """In a world with as many errors among the surest as among the others."""
    rng = np.random.default_rng(5)

    def drawn(count: int) -> Threshold:
        positives = rng.random(count) > 0.02
        return guaranteed(positives, rng.random(count), np.arange(count), *goal)

    goal = ("precision", 0.95, ERROR)
    passed = list[bool]()
    while len(passed) < 60:
        found = drawn(80)
        if found.value is None:
            _, about, rest = found.why.partition("It takes about ")
            passed += [drawn(round(80 * float(rest.split()[0]))).value is not None] if about else []
    assert np.mean(passed) > 0.5


def test_a_probability_of_0_is_no_threshold() -> None:
    """Probabilities are 0 if min_similarity lets no label count."""
    positives = np.ones(100, np.bool_)
    probabilities = np.zeros(100)
    for kind in ("precision", "recall"):
        found = guaranteed(positives, probabilities, np.arange(100), kind, 0.9, ERROR)
        assert found.value is None and "min_similarity" in found.why
    assert estimated(positives, probabilities, None) is None


def test_estimates_are_the_best_on_the_images() -> None:
    positives = np.array([True, True, False, True, False, False])
    probabilities = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    assert estimated(positives, probabilities, None) == 0.6
    assert estimated(positives, probabilities, (1, 10)) == 0.8
    assert estimated(positives, probabilities, (10, 1)) == 0.6
    assert estimated(np.zeros(6, np.bool_), probabilities, None) is None
