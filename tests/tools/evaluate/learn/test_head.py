"""The head against a slow reference, and what it must do at the edges."""

from dataclasses import replace

import numpy as np
import pytest

from classifier.model.scoring import Floats, probabilities
from tools.evaluate.learn.head import NEARNESS, Start, learn


def normalised(rng: np.random.Generator, *shape: int) -> np.ndarray:
    values = rng.normal(size=shape)
    found: np.ndarray = (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float32)
    return found


def world(
    names: int = 5, each: int = 8, multi_label: bool = False, negatives: int = 0
) -> tuple[Start, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    rows = normalised(rng, names + negatives, 16)
    truth = np.repeat(np.eye(names, dtype=bool), each, axis=0)
    x = rows[truth.argmax(axis=1)] + 2.0 * normalised(rng, len(truth), 16)
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    return Start(rows, [[i] for i in range(names)], 10.0, -2.0, multi_label, "sum"), x, truth


def objective(start: Start, w: Floats, x: np.ndarray, truth: np.ndarray) -> float:
    """As the docstring has it, one image at a time, with the run time's own probabilities."""
    alone = start.multi_label and len(start.rows) == len(start.groups)
    loss = 0.0
    for row, positives in zip(x.astype(np.float64), truth, strict=True):
        shares: Floats = np.array(
            probabilities(
                start.scale * (w @ row),
                start.groups,
                multi_label=start.multi_label,
                combine=start.combine,  # type: ignore[arg-type]
                scoring="sigmoid" if alone else "softmax",
                bias=start.bias,
            )
        )
        each = np.where(positives, shares, 1 - shares) if start.multi_label else shares[positives]
        loss -= np.log(each).sum()
    distance = ((w - start.rows) ** 2).sum()
    return float(loss / len(x) + NEARNESS / (truth.sum() / truth.shape[1]) * distance)


@pytest.mark.parametrize(
    ("multi_label", "negatives"), [(False, 0), (True, 0), (True, 1), (True, 5)]
)
def test_no_step_in_any_direction_makes_it_better(multi_label: bool, negatives: int) -> None:
    """The objective is convex, so that this is the minimum."""
    start, x, truth = world(multi_label=multi_label, negatives=negatives)
    w = learn(start, x, truth).astype(np.float64)
    best = objective(start, w, x, truth)
    rng = np.random.default_rng(5)
    assert best < objective(start, start.rows.astype(np.float64), x, truth) - 0.01
    for _ in range(50):
        step = rng.normal(size=w.shape)
        assert objective(start, w + 1e-3 * step, x, truth) > best
        forwards = objective(start, w + 1e-5 * step, x, truth)
        backwards = objective(start, w - 1e-5 * step, x, truth)
        assert abs(forwards - backwards) / 2e-5 < 1e-4


@pytest.mark.parametrize("combine", ["sum", "max"])
def test_several_prompts_a_label_learn_by_their_own_rule(combine: str) -> None:
    start, x, truth = world(names=6)
    start = replace(start, groups=[[0, 1], [2, 3], [4, 5]], combine=combine)
    truth = truth[:, ::2] | truth[:, 1::2]
    learned = learn(start, x, truth).astype(np.float64)
    words = start.rows.astype(np.float64)
    assert objective(start, learned, x, truth) < objective(start, words, x, truth)


def test_gradient_descent_comes_to_the_same_vectors() -> None:
    start, x, truth = world()
    w = start.rows.astype(np.float64)
    each = NEARNESS / 8
    for _ in range(5000):
        logits = start.scale * x @ w.T
        shares: np.ndarray = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        w -= 0.05 * (start.scale / len(x) * (shares - truth).T @ x + 2 * each * (w - start.rows))
    assert np.abs(learn(start, x, truth) - w).max() < 1e-5


def test_no_example_leaves_the_words_to_the_last_bit() -> None:
    start, x, truth = world()
    for none in (learn(start, x[:0], truth[:0]), learn(start, x, np.zeros_like(truth))):
        assert none.tobytes() == start.rows.tobytes()


def test_a_label_without_examples_keeps_its_words_and_the_others_learn() -> None:
    start, x, truth = world()
    kept = ~truth[:, 2]
    w = learn(start, x[kept], truth[kept])
    assert w[2].tobytes() == start.rows[2].tobytes()
    assert all(np.abs(w[i] - start.rows[i]).max() > 0.01 for i in (0, 1, 3, 4))


def test_images_of_none_of_the_labels_teach_only_those_that_are_judged_alone() -> None:
    rng = np.random.default_rng(6)
    for multi_label in (False, True):
        start, x, truth = world(multi_label=multi_label)
        more = np.concatenate([x, normalised(rng, 9, 16)])
        none = np.concatenate([truth, np.zeros((9, 5), bool)])
        assert np.array_equal(learn(start, more, none), learn(start, x, truth)) != multi_label
