"""Numbers and intervals against their definitions."""

import numpy as np
import pytest

from tools.evaluate.judging.measures import (
    Draws,
    accuracies,
    accuracy_differences,
    average_precision_difference,
    measure,
)

RNG = np.random.default_rng(5)
POSITIVES = RNG.random(400) < 0.4
PROBABILITIES = np.clip(0.35 * POSITIVES + 0.65 * RNG.random(400), 0, 1)
ALONE = np.arange(400)


def test_a_labels_numbers_are_their_definitions() -> None:
    detected = PROBABILITIES >= 0.6
    right = (detected & POSITIVES).sum()
    alarms = (detected & ~POSITIVES).sum()
    missed = (~detected & POSITIVES).sum()
    found = measure(POSITIVES, PROBABILITIES, 0.6, Draws(ALONE), None)
    values = {name: triple[0] if triple else None for name, triple in found.items()}
    ranked = POSITIVES[np.argsort(-PROBABILITIES)]
    expected = {
        "precision": right / (right + alarms),
        "recall": right / POSITIVES.sum(),
        "false_alarms": alarms / (~POSITIVES).sum(),
        "f1": 2 * right / (2 * right + alarms + missed),
        "average_precision": (np.cumsum(ranked) / np.arange(1, 401))[ranked].mean(),
    }
    assert values == pytest.approx(expected)
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
    copies = np.repeat(np.arange(400), 5)
    frames = (POSITIVES[copies], PROBABILITIES[copies], 0.6)
    alone = measure(POSITIVES, PROBABILITIES, 0.6, Draws(ALONE), None)
    grouped = measure(*frames, Draws(copies), None)
    apart = measure(*frames, Draws(np.arange(2000)), None)
    for name in alone:
        triples = (alone[name], grouped[name], apart[name])
        widths = [triple[2] - triple[1] for triple in triples if triple]
        assert widths[1] == pytest.approx(widths[0], rel=0.2)
        assert widths[2] < 0.6 * widths[1]


def test_intervals_hold_what_they_promise() -> None:
    """Of 300 draws from a known world, about 95 % of the intervals contain the true number."""
    inside = np.zeros(3)
    rng = np.random.default_rng(1)
    # The label is shown by 0.6, of which 0.8 are detected; of the others 0.3 are.
    truth = {"recall": 0.8, "precision": 0.48 / 0.6, "f1": 2 * 0.48 / (2 * 0.48 + 0.12 + 0.12)}
    for _ in range(300):
        positives = rng.random(250) < 0.6
        probabilities = np.where(rng.random(250) < np.where(positives, 0.8, 0.3), 0.9, 0.1)
        found = measure(positives, probabilities, 0.5, Draws(np.arange(250)), None)
        for i, (name, true) in enumerate(truth.items()):
            triple = found[name]
            inside[i] += triple is not None and triple[1] <= true <= triple[2]
    assert (inside > 0.91 * 300).all()


def test_accuracy_is_of_the_images_that_show_a_label_and_balanced_accuracy_of_the_labels() -> None:
    truth = np.array([[True, False]] * 6 + [[False, True]] * 2 + [[False, False]])
    predicted = np.array([0, 0, 0, 0, 0, 1, 1, 0, 1])
    draws = Draws(np.arange(9))
    plain, balanced = accuracies(predicted, truth, draws)
    assert plain and balanced
    assert (plain[0], balanced[0]) == pytest.approx((6 / 8, (5 / 6 + 1 / 2) / 2))
    none = accuracies(np.full(9, -1), truth, draws)[0]
    assert none == pytest.approx((0.0, 0.0, 0.3694), abs=1e-3)
    # With one image of a label many draws have none, which needs no warning.
    assert accuracies(predicted[-2:], truth[-2:], Draws(np.arange(2)))[1] == (0.0, 0.0, 0.0)


def test_a_difference_of_two_is_closer_than_either_if_they_agree() -> None:
    draws = Draws(ALONE)
    rng = np.random.default_rng(2)
    truth = np.stack([POSITIVES, ~POSITIVES], axis=1)
    second = np.where(rng.random(400) < 0.8, truth.argmax(axis=1), 1 - truth.argmax(axis=1))
    first = np.where(rng.random(400) < 0.1, truth.argmax(axis=1), second)
    found = accuracy_differences(first, second, truth, draws)["accuracy"]
    one = accuracies(first, truth, draws)[0]
    two = accuracies(second, truth, draws)[0]
    assert one and two
    assert found[0] == pytest.approx(one[0] - two[0])
    assert found[2] - found[1] < 0.7 * (one[2] - one[1])
    same = average_precision_difference(POSITIVES, PROBABILITIES, PROBABILITIES, draws, None)
    assert same == (0.0, 0.0, 0.0)
