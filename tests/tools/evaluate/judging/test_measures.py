"""Numbers and intervals against their definitions and against published tables."""

import numpy as np
import pytest

from tools.evaluate.judging.measures import (
    Draws,
    accuracies,
    accuracy_differences,
    at_most,
    average_precision_difference,
    independent,
    interval,
    measure,
    wilson,
)

RNG = np.random.default_rng(5)
SHOWN = RNG.random(400) < 0.4
SHARES = np.clip(0.35 * SHOWN + 0.65 * RNG.random(400), 0, 1)
ALONE = np.arange(400)


def test_the_binomials_tail_is_the_sum_of_its_terms() -> None:
    assert at_most(2, 10, 0.3) == pytest.approx(0.7**10 + 10 * 0.3 * 0.7**9 + 45 * 0.3**2 * 0.7**8)
    assert at_most(1000, 3000, 0.3) == pytest.approx(0.999968, abs=1e-5)
    assert (at_most(10, 10, 0.3), at_most(0, 10, 0.0), at_most(9, 10, 1.0)) == (1.0, 1.0, 0.0)


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    # By R's binom.test.
    [(0, 10, 0.0, 0.3084971), (10, 10, 0.6915029, 1.0), (7, 20, 0.1539092, 0.5921885), (95, 100, 0.8871651, 0.9835681)],
)
def test_a_shares_interval_is_clopper_pearsons(hits: int, count: int, low: float, high: float) -> None:
    assert interval(hits, count) == pytest.approx((hits / count, low, high), abs=1e-6)


def test_many_shares_at_once_have_intervals_near_to_those() -> None:
    share, low, high = wilson(np.array([7.0, 95.0, 0.0]), np.array([20.0, 100.0, 0.0]))
    assert share[:2].tolist() == [0.35, 0.95]
    assert (low[0], high[0]) == pytest.approx((0.1812, 0.5671), abs=1e-4)
    assert np.isnan([share[2], low[2], high[2]]).all()
    # Five frames each of 20 scenes are 20 pictures.
    groups = np.repeat(np.arange(20), 5)
    assert independent(np.ones(100, np.bool_), groups) == 0.2
    for one, other in zip(wilson(np.array(35), np.array(100), 0.2), wilson(np.array(7), np.array(20)), strict=True):
        assert one == pytest.approx(other)


def test_a_names_numbers_are_their_definitions() -> None:
    counted = SHARES >= 0.6
    right, alarms, missed = (counted & SHOWN).sum(), (counted & ~SHOWN).sum(), (~counted & SHOWN).sum()
    found = measure(SHOWN, SHARES, 0.6, Draws(ALONE), None)
    values = {name: triple[0] if triple else None for name, triple in found.items()}
    ranked = SHOWN[np.argsort(-SHARES)]
    average = (np.cumsum(ranked) / np.arange(1, 401))[ranked].mean()
    assert values == pytest.approx({
        "precision": right / (right + alarms), "recall": right / SHOWN.sum(), "false_alarms": alarms / (~SHOWN).sum(),
        "f1": 2 * right / (2 * right + alarms + missed), "average_precision": average,
    })  # fmt: skip
    for triple in found.values():
        assert triple and triple[1] < triple[0] < triple[2]


def test_ties_are_ranked_together() -> None:
    shown, shares = np.array([True, False, False, True]), np.array([0.5, 0.5, 0.5, 0.9])
    found = measure(shown, shares, None, Draws(np.arange(4)), None)["average_precision"]
    assert found and found[0] == pytest.approx((1 + 0.5) / 2)


def test_what_cannot_be_counted_is_nothing() -> None:
    draws = Draws(np.arange(3))
    none = measure(np.zeros(3, np.bool_), np.array([0.1, 0.2, 0.3]), 0.5, draws, 0.1)
    assert [name for name, triple in none.items() if triple] == ["false_alarms"]
    every = measure(np.ones(3, np.bool_), np.array([0.1, 0.2, 0.3]), 0.5, draws, None)
    assert (every["false_alarms"], every["precision"]) == (None, None)
    assert accuracies(np.zeros(3, np.int64), np.zeros((3, 2), np.bool_), draws) == (None, None)


def test_frames_of_one_group_do_not_count_as_independent() -> None:
    copies, groups = np.repeat(np.arange(400), 5), np.repeat(np.arange(400), 5)
    alone = measure(SHOWN, SHARES, 0.6, Draws(ALONE), None)
    grouped = measure(SHOWN[copies], SHARES[copies], 0.6, Draws(groups), None)
    apart = measure(SHOWN[copies], SHARES[copies], 0.6, Draws(np.arange(2000)), None)
    for name in alone:
        widths = [triple[2] - triple[1] for triple in (alone[name], grouped[name], apart[name]) if triple]
        assert widths[1] == pytest.approx(widths[0], rel=0.2)
        assert widths[2] < 0.6 * widths[1]


def test_intervals_hold_what_they_promise() -> None:
    """Of 300 draws from a known world, about 95 % of the intervals have the true number in them."""
    inside = np.zeros(3)
    rng = np.random.default_rng(1)
    # True shows 0.6, of which 0.8 count; of the others 0.3 do.
    truth = {"recall": 0.8, "precision": 0.48 / 0.6, "f1": 2 * 0.48 / (2 * 0.48 + 0.12 + 0.12)}
    for _ in range(300):
        shown = rng.random(250) < 0.6
        shares = np.where(rng.random(250) < np.where(shown, 0.8, 0.3), 0.9, 0.1)
        found = measure(shown, shares, 0.5, Draws(np.arange(250)), None)
        triples = [found[name] for name in truth]
        inside += [
            triple is not None and triple[1] <= true <= triple[2] for triple, true in zip(triples, truth.values(), strict=True)
        ]
    assert (inside > 0.91 * 300).all()


def test_accuracy_is_of_the_pictures_that_show_a_name_and_balanced_accuracy_of_the_names() -> None:
    truth = np.array([[True, False]] * 6 + [[False, True]] * 2 + [[False, False]])
    taken = np.array([0, 0, 0, 0, 0, 1, 1, 0, 1])
    plain, balanced = accuracies(taken, truth, Draws(np.arange(9)))
    assert plain and balanced
    assert (plain[0], balanced[0]) == pytest.approx((6 / 8, (5 / 6 + 1 / 2) / 2))
    assert accuracies(np.full(9, -1), truth, Draws(np.arange(9)))[0] == pytest.approx((0.0, 0.0, 0.3694), abs=1e-3)


def test_a_difference_of_two_is_closer_than_either_where_they_agree() -> None:
    draws, rng = Draws(ALONE), np.random.default_rng(2)
    truth = np.stack([SHOWN, ~SHOWN], axis=1)
    second = np.where(rng.random(400) < 0.8, truth.argmax(axis=1), 1 - truth.argmax(axis=1))
    first = np.where(rng.random(400) < 0.1, truth.argmax(axis=1), second)
    found = accuracy_differences(first, second, truth, draws)["accuracy"]
    one, two = (accuracies(taken, truth, draws)[0] for taken in (first, second))
    assert one and two
    assert found[0] == pytest.approx(one[0] - two[0])
    assert found[2] - found[1] < 0.7 * (one[2] - one[1])
    assert average_precision_difference(SHOWN, SHARES, SHARES, draws, None) == (0.0, 0.0, 0.0)
