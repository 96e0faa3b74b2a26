"""Which labels count, by thresholds made from numbers."""

from typing import Any

import numpy as np
import pytest

from classifier.contract.classifiers.file import parse_classifier
from tools.evaluate.classifier_file import from_options
from tools.evaluate.dataset import Answers
from tools.evaluate.judging.choices import Choice
from tools.evaluate.judging.decisions import decide, predicted

NAMES = ["a", "b", "c"]
PROBABILITIES = np.array([[0.6, 0.3, 0.1], [0.2, 0.45, 0.35], [0.0, 0.0, 0.0]])
TRUTH = np.array([[True, False, False], [False, False, True], [False, False, False]])


def answers(**more: Any) -> Answers:
    question = {"labels": NAMES, **more}
    embeddings = np.zeros((3, 1), np.float32)
    file = parse_classifier(question)
    return Answers(from_options(question), file, embeddings, PROBABILITIES, PROBABILITIES)


def chosen(**thresholds: float | None) -> list[Choice]:
    return [Choice(name, None, value, "fitted") for name, value in thresholds.items()]


@pytest.mark.parametrize(
    ("thresholds", "decided", "right"),
    [
        # Without any threshold the most likely one counts, unless min_similarity left none.
        ({}, ["a", "b", ""], [True, False, True]),
        ({"a": None}, ["a", "b", ""], [True, False, True]),
        ({"a": 0.5, "b": 0.5, "c": 0.3}, ["a", "c", ""], [True, True, True]),
        # A label without a threshold never counts if another one has one.
        ({"b": 0.4}, ["", "b", ""], [False, False, True]),
    ],
)
def test_one_label_counts_or_none_of_them(
    thresholds: dict[str, float | None], decided: list[str], right: list[bool]
) -> None:
    found = decide(answers(), NAMES, chosen(**thresholds))
    named = ["".join(np.array(NAMES)[row]) for row in found.decided]
    assert (named, found.right(TRUTH).tolist()) == (decided, right)


@pytest.mark.parametrize(
    ("thresholds", "decided"), [({}, ["a", "", ""]), ({"b": 0.3, "c": 0.3}, ["b", "bc", ""])]
)
def test_with_multi_label_each_label_that_reaches_its_threshold_counts(
    thresholds: dict[str, float], decided: list[str]
) -> None:
    found = decide(answers(multi_label=True), NAMES, chosen(**thresholds))
    assert ["".join(np.array(NAMES)[row]) for row in found.decided] == decided


def test_a_tiny_probability_is_not_written_as_zero() -> None:
    tiny = np.array([[0.00003, 0.0000021, 0.5]] * 3)
    question = {"labels": NAMES, "multi_label": True}
    file = parse_classifier(question)
    given = Answers(from_options(question), file, np.zeros((3, 1), np.float32), tiny, tiny)
    found = decide(given, NAMES, chosen(a=0.00001, b=0.00001, c=0.5))
    assert found.text(0) == "a 0.003%, c 50.0%"
    assert decide(given, NAMES, chosen(c=0.6)).text(0) == "none (most likely c 50.0%)"


def test_thresholds_do_not_change_which_label_is_most_likely() -> None:
    assert predicted(answers()).tolist() == [0, 1, -1]
