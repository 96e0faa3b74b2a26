"""A linear head that starts at the words' embeddings and learns from labelled embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from classifier.model.scoring import Floats
from tools.evaluate.judging.intervals import Bools

# How strongly a head is held to the words: chosen on drawings of the demo model's world.
NEARNESS = 0.3
MAX_STEPS = 500
# Of the gradient, in units of its first value.
TOLERANCE = 1e-7


@dataclass(frozen=True)
class Start:
    """The words' answer.

    `rows` [rows, d]: the prompts' embeddings T, positives first, then negatives; `groups`: each
    label's positives; the rest says how products become probabilities.
    """

    rows: NDArray[np.float32]
    groups: Sequence[Sequence[int]]
    scale: float
    bias: float
    multi_label: bool
    combine: str


def learn(start: Start, embeddings: NDArray[np.float32], truth: Bools) -> NDArray[np.float32]:
    """The vectors W [rows, d] of least mean cross-entropy + NEARNESS / n · ‖W - T‖².

    n is the mean number of examples of a label. `embeddings` [N, d], normalised; `truth` [N, L].
    The problem is convex if each label has one prompt; else W is the minimum near the words.
    Without multi_label, images of none of the labels teach nothing. A label without examples keeps
    its words' rows, and is no rival of the others while they learn. Without any example, W is T to
    the last bit.
    """
    taught = np.asarray(truth.any(axis=0))
    used = np.ones(len(truth), np.bool_) if start.multi_label else truth.any(axis=1)
    if not taught.any() or (not start.multi_label and taught.sum() < 2):
        return start.rows
    x = embeddings[used].astype(np.float64)
    positives = truth[used][:, taught]
    groups = [group for group, has in zip(start.groups, taught, strict=True) if has]
    weight = NEARNESS / positives.sum(axis=0).mean()
    words = start.rows.astype(np.float64)

    def objective(flat: Floats) -> tuple[float, Floats]:
        moved = flat.reshape(words.shape)
        logits = start.scale * (x @ (words + moved).T)
        if start.multi_label:
            prompts = sum(map(len, start.groups))
            loss, slopes = _binary(logits, groups, positives, prompts, start.bias)
        else:
            loss, slopes = _softmax(logits, groups, positives, start.combine)
        gradient = start.scale / len(x) * (slopes.T @ x) + 2 * weight * moved
        return loss / len(x) + weight * float((moved * moved).sum()), gradient.ravel()

    origin = np.zeros(words.size)
    steepest = float(np.abs(objective(origin)[1]).max())
    options = {"maxiter": MAX_STEPS, "maxcor": 20, "gtol": TOLERANCE * steepest, "ftol": 0.0}
    found = minimize(objective, origin, jac=True, method="L-BFGS-B", options=options)
    moved: Floats = found.x.reshape(words.shape)
    return (words + moved).astype(np.float32)


def _softmax(
    logits: Floats, groups: Sequence[Sequence[int]], positives: Bools, combine: str
) -> tuple[float, Floats]:
    """The cross-entropy of all images, and its slope by each logit [N, rows].

    An image of several labels shows each in part.
    """
    picked = np.full(logits.shape, -np.inf)
    every = np.arange(len(logits))
    for group in groups:
        columns = np.asarray(group)
        if combine == "max":
            best = columns[logits[:, columns].argmax(axis=1)]
            picked[every, best] = logits[every, best]
        else:
            picked[:, columns] = logits[:, columns]
    owned = np.zeros(logits.shape, np.bool_)
    for group, has in zip(groups, positives.T, strict=True):
        owned[:, list(group)] = has[:, None]
    total, shares = _log_sum(picked)
    own, own_shares = _log_sum(np.where(owned, picked, -np.inf))
    return float((total - own).sum()), shares - own_shares


def _log_sum(logits: Floats) -> tuple[Floats, Floats]:
    """The logarithm of the sum of exponentials of each row [N], and each one's share [N, rows]."""
    top = logits.max(axis=1, keepdims=True)
    weights = np.exp(logits - top)
    sums = weights.sum(axis=1, keepdims=True)
    return (top + np.log(sums))[:, 0], weights / sums


def _binary(
    logits: Floats, groups: Sequence[Sequence[int]], positives: Bools, prompts: int, bias: float
) -> tuple[float, Floats]:
    """The same for labels that are judged alone, each by its best prompt against its negative.

    Summed over the labels. `prompts`: how many rows are positives.
    """
    slopes = np.zeros(logits.shape)
    every = np.arange(len(logits))
    loss = 0.0
    negatives = logits.shape[1] - prompts
    for i, group in enumerate(groups):
        columns = np.asarray(group)
        others = prompts + (columns if negatives > 1 else np.zeros_like(columns))
        margins = logits[:, columns] - logits[:, others] if negatives else logits[:, columns] + bias
        best = margins.argmax(axis=1)
        margin = margins[every, best]
        # Both without overflow: log(1 + e^-m), and the logistic function.
        loss += float((np.logaddexp(0, margin) - margin * positives[:, i]).sum())
        slope = np.exp(-np.logaddexp(0, -margin)) - positives[:, i]
        slopes[every, columns[best]] += slope
        if negatives:
            slopes[every, others[best]] -= slope
    return loss, slopes
