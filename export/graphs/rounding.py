"""Rounds weights so that their products err least on what calibration saw, not each on its own."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
# Channels that make up for each other, at most: time and memory grow with it.
CHANNELS = 1280
# Rows are rounded in blocks, so that most of the work is one large product a block.
BLOCK = 32
# Of the mean of the second moments: without it, channels that calibration hardly saw are rounded
# at will.
DAMPING = 0.01


@dataclass(frozen=True)
class InputStatistics:
    """What calibration saw of a product's input x [r, k]: the largest absolute value of each
    channel [k], and the second moments x.T @ x of each of its `parts`, or none of them: then
    weights are rounded to the nearest.
    """

    largest: Floats
    moments: Sequence[NDArray[np.float64]] = ()
    _rounded: dict[int, NDArray[np.int8]] = field(default_factory=dict)

    def rounded(
        self, weight: Floats, scale: Floats, highest: int, smoothing: Floats | float
    ) -> NDArray[np.int8]:
        """The integers of the product's weight [k, n], of at most `highest`; its rows were
        multiplied by `smoothing`. They are kept: several steps have the same ones.
        """
        if highest not in self._rounded:
            factors = np.broadcast_to(np.asarray(smoothing, np.float64), len(weight))
            self._rounded[highest] = np.concatenate(
                [
                    _rounded(
                        weight[part],
                        scale,
                        highest,
                        moments / factors[part] / factors[part][:, None],
                    )
                    for part, moments in zip(parts(len(weight)), self.moments, strict=True)
                ]
            )
        return self._rounded[highest]


def parts(channels: int) -> list[slice]:
    """Equal parts of a product's input, whose weights are rounded apart."""
    ends = np.linspace(0, channels, 1 + -(-channels // CHANNELS)).astype(int).tolist()
    return [slice(first, end) for first, end in pairwise(ends)]


def _rounded(
    weight: Floats, scale: Floats, highest: int, moments: NDArray[np.float64]
) -> NDArray[np.int8]:
    """Each row makes up for the rounding of the rows before it (GPTQ, arXiv 2210.17323, in the form
    of LDLQ, 2307.13304). In float64, so that numpy's kernels and threads change no integer.
    """
    damping = DAMPING * np.trace(moments) / len(moments) or 1.0
    damped = moments + damping * np.eye(len(moments))
    # upper @ upper.T is the matrix.
    upper = np.linalg.cholesky(damped[::-1, ::-1])[::-1, ::-1]
    share = np.ascontiguousarray((upper / np.diag(upper)).T)
    step = scale.astype(np.float64)
    integers = np.empty(weight.shape, np.int8)
    errors = np.empty(weight.shape)
    for start in range(0, len(weight), BLOCK):
        block = slice(start, start + BLOCK)
        goals = weight[block] - share[block, :start] @ errors[:start]
        for i, goal in enumerate(goals, start):
            goal -= np.einsum("j,jn->n", share[i, start:i], errors[start:i])
            integers[i] = np.clip(np.rint(goal / step), -highest, highest)
            errors[i] = integers[i] * step - weight[i]
    return integers
