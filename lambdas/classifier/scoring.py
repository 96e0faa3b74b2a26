"""Similarities to probabilities, in float64 and in an order of adding up that doesn't depend on the company."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def similarities(embeddings: NDArray[np.float32] | NDArray[np.float64], image: NDArray[np.float32]) -> NDArray[np.float64]:
    """Cosines [n] of normalised embeddings [n, d] with a normalised image embedding [d].

    Row by row, not as a matrix product: BLAS adds up a row in an order that depends on how many rows there are.
    """
    products = embeddings.astype(np.float64) * image.astype(np.float64)
    cosines: NDArray[np.float64] = products.sum(axis=1)
    return cosines


def softmax(logits: NDArray[np.float64]) -> list[float]:
    """Probabilities that sum to 1; logits may be large. The sum is rounded once, so that permuted logits give permuted answers."""
    weights = np.exp(logits - logits.max())
    total = math.fsum(weights)
    return [float(weight) / total for weight in weights]


def against(present: NDArray[np.float64], absent: NDArray[np.float64]) -> list[float]:
    """The probability of each logit [n] against its counterpart [n], or one for all [1]; to the last bit what softmax gives the two."""
    top = np.maximum(present, absent)
    weights, others = np.exp(present - top), np.exp(absent - top)
    shares: list[float] = (weights / (weights + others)).tolist()
    return shares


def sigmoid(logits: NDArray[np.float64]) -> list[float]:
    """Probabilities of models trained to judge every pair alone; logits may be large either way."""
    return [1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x)) for x in logits.tolist()]


def mean(embeddings: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The mean of normalised embeddings [d], normalised again, added up in the order given; of one it is that one, untouched."""
    if len(embeddings) == 1:
        return embeddings[0]
    total = np.zeros(embeddings[0].shape, np.float64)
    for embedding in embeddings:
        total += embedding
    normalised: NDArray[np.float32] = (total / math.sqrt(math.fsum(total * total))).astype(np.float32)
    return normalised


def best(names: Sequence[str], shares: Sequence[float], least: float | None, most: int | None) -> dict[str, float]:
    """What is not below `least`, at most `most` of it, best first (ties in the order given); all as given where neither is asked."""
    kept = list(zip(names, shares, strict=True))
    if least is not None or most is not None:
        kept = sorted((pair for pair in kept if pair[1] >= (least or 0)), key=lambda pair: -pair[1])[:most]
    return dict(kept)
