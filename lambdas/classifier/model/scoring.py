"""Similarities to probabilities, in float64 and added up in an order that doesn't depend on the
batch.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def similarities(embeddings: NDArray[np.float32] | Floats, image: NDArray[np.float32]) -> Floats:
    """Cosines [n] of normalised embeddings [n, d] with a normalised image embedding [d].

    Row by row, not as a matrix product: BLAS adds up a row in an order that depends on how many
    rows there are.
    """
    products = embeddings.astype(np.float64) * image.astype(np.float64)
    cosines: Floats = products.sum(axis=1)
    return cosines


def probabilities(
    logits: Floats,
    groups: Sequence[Sequence[int]],
    *,
    multi_label: bool,
    combine: Literal["sum", "max"],
    scoring: Literal["softmax", "sigmoid"],
    bias: float | None,
) -> list[float]:
    """The probability of each group of prompts. `logits`: those of the positives, then of their
    negatives.
    """
    if multi_label:
        count = sum(map(len, groups))
        each = (
            sigmoid(logits + (bias or 0))
            if scoring == "sigmoid"
            else binary_softmax(logits[:count], logits[count:])
        )
        return [max(each[i] for i in group) for group in groups]
    if combine == "max":
        return softmax(np.array([max(logits[i] for i in group) for group in groups]))
    each = softmax(logits)
    # Shares are rounded one by one, so that all of them can add up to a little more than 1.
    return [min(1.0, math.fsum(each[i] for i in group)) for group in groups]


def softmax(logits: Floats) -> list[float]:
    """Probabilities that sum to 1. Rounds the sum once, so that permuted logits give permuted
    probabilities.
    """
    weights = np.exp(logits - logits.max())
    total = math.fsum(weights)
    return [float(weight) / total for weight in weights]


def binary_softmax(positives: Floats, negatives: Floats) -> list[float]:
    """The probability of each logit [n] against its negative [n] or one shared by all [1]: softmax
    of the two, to the last bit.
    """
    top = np.maximum(positives, negatives)
    weights = np.exp(positives - top)
    others = np.exp(negatives - top)
    shares: list[float] = (weights / (weights + others)).tolist()
    return shares


def sigmoid(logits: Floats) -> list[float]:
    """Probabilities for a model trained to judge every pair alone; any logit is safe."""
    return [
        1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
        for x in logits.tolist()
    ]


def mean(embeddings: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The normalised mean of normalised embeddings [d], added up in the order given; a single one
    comes back untouched.
    """
    if len(embeddings) == 1:
        return embeddings[0]
    total = np.zeros(embeddings[0].shape, np.float64)
    for embedding in embeddings:
        total += embedding
    normalised: NDArray[np.float32] = (total / math.sqrt(math.fsum(total * total))).astype(
        np.float32
    )
    return normalised


def rank(
    names: Sequence[str], shares: Sequence[float], minimum: float | None, top_k: int | None
) -> dict[str, float]:
    """The best `top_k` names of at least `minimum`, best first, ties in the order given; without
    either, all in that order.
    """
    kept = list(zip(names, shares, strict=True))
    if minimum is not None or top_k is not None:
        kept = sorted(
            (pair for pair in kept if pair[1] >= (minimum or 0)), key=lambda pair: -pair[1]
        )[:top_k]
    return dict(kept)
