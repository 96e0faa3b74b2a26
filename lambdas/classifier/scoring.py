"""Similarities to probabilities, in float64 and in an order of adding up that doesn't depend on the company."""

import math

import numpy as np
from numpy.typing import NDArray


def similarities(embeddings: NDArray[np.float32], image: NDArray[np.float32]) -> NDArray[np.float64]:
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
