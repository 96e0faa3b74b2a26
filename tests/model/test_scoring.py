import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from classifier.model.scoring import probabilities, similarities, softmax

LOGITS = hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(-100, 100))


@given(LOGITS)
def test_probabilities_sum_to_one(logits: np.ndarray) -> None:
    assert abs(math.fsum(softmax(logits)) - 1) < 1e-9


def test_a_category_of_all_prompts_has_at_most_all_of_the_probability() -> None:
    rng = np.random.default_rng(0)
    for _ in range(500):
        logits = rng.normal(0, 3, int(rng.integers(1, 40)))
        groups = [range(len(logits))]
        [share] = probabilities(
            logits, groups, multi_label=False, combine="sum", scoring="softmax", bias=None
        )
        assert 1 - 1e-9 < share <= 1


@given(LOGITS)
def test_permuted_logits_give_permuted_probabilities_to_the_last_bit(logits: np.ndarray) -> None:
    order = np.random.default_rng(len(logits)).permutation(len(logits))
    assert softmax(logits[order]) == [softmax(logits)[i] for i in order]


def test_softmax_agrees_with_arithmetic_by_hand() -> None:
    np.testing.assert_allclose(softmax(np.log([1.0, 2.0, 5.0])), [0.125, 0.25, 0.625], rtol=1e-12)


def test_large_logits_do_not_overflow() -> None:
    assert softmax(np.array([1e6, 0.0])) == [1.0, 0.0]


def test_a_similarity_depends_on_its_own_row_alone() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(50, 512)).astype(np.float32)
    image = rng.normal(size=512).astype(np.float32)
    together = similarities(rows, image)
    assert all(similarities(rows[i : i + 1], image)[0] == together[i] for i in range(50))
    np.testing.assert_allclose(together, rows.astype(float) @ image.astype(float), rtol=1e-12)
