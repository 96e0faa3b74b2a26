"""A linear head that starts at the words' embeddings and stays near them, learned from labelled embeddings. In numpy alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from classifier.model.scoring import Floats
from tools.evaluate.judging.measures import Bools

# How much a head is held to the words: chosen on drawings of the demo model's world.
NEARNESS = 0.3
MEMORY = 20
MAX_STEPS = 500
# Of the gradient, in units of its first value.
TOLERANCE = 1e-7


@dataclass(frozen=True)
class Start:
    """What the words answer with: the prompts' embeddings T [rows, d], positives first, then negatives; each name's positives;
    how products become probabilities."""

    rows: NDArray[np.float32]
    groups: Sequence[Sequence[int]]
    scale: float
    bias: float
    multi_label: bool
    combine: str


def learn(start: Start, embeddings: NDArray[np.float32], truth: Bools) -> NDArray[np.float32]:
    """The vectors W [rows, d] that minimise mean cross-entropy + NEARNESS / n · ‖W - T‖², n the mean number of examples of a name.

    `embeddings` [N, d], normalised; `truth` [N, L]. Convex where each name has one prompt; of several, the minimum near the words.
    Without multi_label, pictures of none of the names teach nothing. A name without examples keeps its words' rows, and is no rival
    of the others while they learn. Without any example, W is T to the last bit.
    """
    taught = np.asarray(truth.any(axis=0))
    used = np.ones(len(truth), np.bool_) if start.multi_label else truth.any(axis=1)
    if not taught.any() or (not start.multi_label and taught.sum() < 2):
        return start.rows
    x, shown = embeddings[used].astype(np.float64), truth[used][:, taught]
    groups = [group for group, has in zip(start.groups, taught, strict=True) if has]
    weight, words = NEARNESS / shown.sum(axis=0).mean(), start.rows.astype(np.float64)

    def objective(flat: Floats) -> tuple[float, Floats]:
        moved = flat.reshape(words.shape)
        logits = start.scale * (x @ (words + moved).T)
        if start.multi_label:
            loss, slopes = _binary(logits, groups, shown, sum(map(len, start.groups)), start.bias)
        else:
            loss, slopes = _softmax(logits, groups, shown, start.combine)
        gradient = start.scale / len(x) * (slopes.T @ x) + 2 * weight * moved
        return loss / len(x) + weight * float((moved * moved).sum()), gradient.ravel()

    moved = minimise(objective, np.zeros(words.size)).reshape(words.shape)
    return (words + moved).astype(np.float32)


def _softmax(logits: Floats, groups: Sequence[Sequence[int]], shown: Bools, combine: str) -> tuple[float, Floats]:
    """The cross-entropy of all pictures, and its slope by each logit [N, rows]. A picture of several names shows each in part."""
    picked, every = np.full(logits.shape, -np.inf), np.arange(len(logits))
    for group in groups:
        columns = np.asarray(group)
        if combine == "max":
            best = columns[logits[:, columns].argmax(axis=1)]
            picked[every, best] = logits[every, best]
        else:
            picked[:, columns] = logits[:, columns]
    owned = np.zeros(logits.shape, np.bool_)
    for group, has in zip(groups, shown.T, strict=True):
        owned[:, list(group)] = has[:, None]
    own = np.where(owned, picked, -np.inf)
    (total, shares), (of_own, own_shares) = _log_sum(picked), _log_sum(own)
    return float((total - of_own).sum()), shares - own_shares


def _log_sum(logits: Floats) -> tuple[Floats, Floats]:
    top = logits.max(axis=1, keepdims=True)
    weights = np.exp(logits - top)
    sums = weights.sum(axis=1, keepdims=True)
    return (top + np.log(sums))[:, 0], weights / sums


def _binary(logits: Floats, groups: Sequence[Sequence[int]], shown: Bools, positives: int, bias: float) -> tuple[float, Floats]:
    """The same for names that are judged alone, each by its best prompt against its negative, summed over the names."""
    slopes, every, loss = np.zeros(logits.shape), np.arange(len(logits)), 0.0
    negatives = logits.shape[1] - positives
    for i, group in enumerate(groups):
        columns = np.asarray(group)
        others = positives + (columns if negatives > 1 else np.zeros_like(columns))
        margins = logits[:, columns] - logits[:, others] if negatives else logits[:, columns] + bias
        best = margins.argmax(axis=1)
        margin = margins[every, best]
        # Both without overflow: log(1 + e^-m), and the logistic function.
        loss += float((np.logaddexp(0, margin) - margin * shown[:, i]).sum())
        slope = np.exp(-np.logaddexp(0, -margin)) - shown[:, i]
        slopes[every, columns[best]] += slope
        if negatives:
            slopes[every, others[best]] -= slope
    return loss, slopes


def minimise(objective: Callable[[Floats], tuple[float, Floats]], point: Floats) -> Floats:
    """L-BFGS with backtracking (Nocedal and Wright, Numerical Optimization, algorithms 7.4 and 7.5)."""
    value, gradient = objective(point)
    small = TOLERANCE * max(float(np.abs(gradient).max()), 1e-12)
    pairs: list[tuple[Floats, Floats, float]] = []
    for _ in range(MAX_STEPS):
        if np.abs(gradient).max() <= small:
            break
        direction = -_two_loops(gradient, pairs)
        slope = float(gradient @ direction)
        step = 1.0 if pairs else 1.0 / max(1.0, float(np.linalg.norm(gradient)))
        for _ in range(40):
            new_value, new_gradient = objective(point + step * direction)
            if new_value <= value + 1e-4 * step * slope:
                break
            step /= 2
        else:
            # As near as float64 comes.
            break
        moved, bent = step * direction, new_gradient - gradient
        # Convexity makes it positive; of several prompts a name, it may not be.
        if (curvature := float(moved @ bent)) > 1e-12 * float(bent @ bent):
            pairs = [*pairs, (moved, bent, 1 / curvature)][-MEMORY:]
        point, value, gradient = point + moved, new_value, new_gradient
    return point


def _two_loops(gradient: Floats, pairs: Sequence[tuple[Floats, Floats, float]]) -> Floats:
    """The gradient times an estimate of the inverse Hessian."""
    found, factors = gradient.copy(), []
    for moved, bent, inverse in reversed(pairs):
        factors.append(inverse * float(moved @ found))
        found -= factors[-1] * bent
    if pairs:
        _, bent, inverse = pairs[-1]
        found /= inverse * float(bent @ bent)
    for (moved, bent, inverse), factor in zip(pairs, reversed(factors), strict=True):
        found += moved * (factor - inverse * float(bent @ found))
    return found
