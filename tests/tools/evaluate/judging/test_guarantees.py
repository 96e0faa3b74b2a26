"""Promises, on draws from worlds whose truth is known."""

from collections.abc import Callable

import numpy as np
import pytest

from tools.evaluate.judging.guarantees import estimated, fewest, promised
from tools.evaluate.judging.measures import Bools, at_most

DRAWS = 300
ERROR = 0.05


@pytest.mark.parametrize(("level", "wrong", "count"), [(0.90, 0, 29), (0.95, 0, 59), (0.99, 0, 299), (0.95, 1, 93)])
def test_how_many_pictures_would_do(level: float, wrong: int, count: int) -> None:
    assert fewest(level, ERROR, wrong) == count


def world(rng: np.random.Generator, count: int) -> tuple[Bools, np.ndarray]:
    """Probabilities that are exactly how often what they say is true."""
    shares = rng.beta(0.6, 1.2, count)
    return rng.random(count) < shares, shares


def true_share(kind: str) -> Callable[[float], float]:
    shown, shares = world(np.random.default_rng(99), 1_000_000)
    if kind == "precision":
        return lambda threshold: float(shown[shares >= threshold].mean())
    among = shares[shown if kind == "recall" else ~shown]
    return lambda threshold: float((among >= threshold).mean())


@pytest.mark.parametrize(("kind", "level"), [("precision", 0.85), ("recall", 0.8), ("false_alarms", 0.1)])
@pytest.mark.parametrize("count", [150, 1000])
def test_at_most_five_of_a_hundred_draws_break_a_promise(kind: str, level: float, count: int) -> None:
    rng, share, broken, passed = np.random.default_rng(3), true_share(kind), 0, 0
    for _ in range(DRAWS):
        shown, shares = world(rng, count)
        threshold, why = promised(shown, shares, np.arange(count), kind, level, ERROR)
        if threshold is None:
            assert "would do" in why
            continue
        passed += 1
        found = share(threshold)
        broken += found > level if kind == "false_alarms" else found < level
    assert passed > (0 if count == 150 else 0.5 * DRAWS)
    # So many or more would come by chance in one of a thousand runs if 5 % of the draws broke it.
    assert at_most(broken - 1, DRAWS, ERROR) < 0.999 if broken else True


def test_the_best_threshold_on_the_pictures_breaks_it_in_half_of_all_draws() -> None:
    """Which is why it isn't taken: the test above could fail."""
    rng, share, broken = np.random.default_rng(3), true_share("precision"), 0
    for _ in range(DRAWS):
        shown, shares = world(rng, 1000)
        thresholds = np.sort(shares)
        precision = np.cumsum(shown[np.argsort(-shares)])[::-1] / np.arange(1000, 0, -1)
        broken += share(thresholds[np.argmax(precision >= 0.85)]) < 0.85
    assert broken > 0.4 * DRAWS


def test_a_group_counts_once_by_its_worst_picture() -> None:
    shares, shown = np.full(200, 0.9), np.ones(200, np.bool_)
    assert promised(shown, shares, np.arange(200), "recall", 0.95, ERROR)[0] == 0.9
    assert promised(shown, shares, np.arange(200) // 10, "recall", 0.95, ERROR)[0] is None
    # One of each pair is found late.
    shares[::2] = 0.3
    assert promised(shown, shares, np.arange(200) // 2, "recall", 0.95, ERROR)[0] == 0.3
    # One of each pair is an alarm.
    shown, shares = np.arange(200) % 2 == 0, np.full(200, 0.9)
    assert promised(shown, shares, np.arange(200) // 2, "precision", 0.1, ERROR)[0] is None


def test_a_precision_with_an_error_among_the_surest_needs_more_pictures() -> None:
    shown, shares = np.ones(93, np.bool_), np.linspace(1, 0.5, 93)
    shown[0] = False
    threshold, why = promised(shown, shares, np.arange(93), "precision", 0.95, ERROR)
    assert threshold is None
    assert "59 that count without an error would do, or 93 with one error" in why
    shown[0] = True
    assert promised(shown, shares, np.arange(93), "precision", 0.95, ERROR)[0] == 0.5


def test_what_never_counts_is_no_threshold() -> None:
    """Probabilities are 0 where min_similarity lets none count."""
    shown, shares = np.ones(100, np.bool_), np.zeros(100)
    assert promised(shown, shares, np.arange(100), "precision", 0.9, ERROR)[0] is None
    assert promised(shown, shares, np.arange(100), "recall", 0.9, ERROR)[0] is None
    assert estimated(shown, shares, None) is None


def test_estimates_are_the_best_on_the_pictures() -> None:
    shown = np.array([True, True, False, True, False, False])
    shares = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    assert estimated(shown, shares, None) == 0.6
    assert estimated(shown, shares, (1, 10)) == 0.8
    assert estimated(shown, shares, (10, 1)) == 0.6
    assert estimated(np.zeros(6, np.bool_), shares, None) is None
