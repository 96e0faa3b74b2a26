"""How well scores put what is present first."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def average_precision(scores: NDArray[np.floating[Any]], present: NDArray[np.bool_]) -> float:
    """How well scores [n] put what is present [n] first."""
    ranked = present[np.argsort(-scores, kind="stable")]
    return float((np.cumsum(ranked) / np.arange(1, len(ranked) + 1))[ranked].mean())
