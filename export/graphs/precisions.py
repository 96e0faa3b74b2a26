"""The precisions that a bundle's products come in, and weights as integers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.graphs.rounding import InputStatistics

# The least values of activations, rounded down: x * sigmoid(x) for the first.
LEAST = {"quick_gelu": -0.2785, "gelu": -0.17, "tanh_gelu": -0.1701, "relu": 0.0}
TINY = np.float32(1e-12)
Floats = NDArray[np.float32]
# A weight, or a part of it: integers [k, n], a scale for each column, and the integer that stands
# for zero.
Integers = tuple[NDArray[Any], Floats, Any]


@dataclass(frozen=True)
class Step:
    """A way to multiply. `bits` of a weight: 7, 8, 14 (two products of 7) or 32 (fp32).

    `constant_scales`: calibration gives each product one scale for its input, which takes fewer
    passes over it; otherwise each row is scaled by its own largest value. `two_parts`: the input
    comes as two parts of 8 bits as well, which takes a third product.
    """

    bits: int
    constant_scales: bool = False
    two_parts: bool = False


# The names that bundle.json gives them. Bundles of before may also say "mixed": an int8 one with
# some products left in fp32.
STEPS = {
    "int8": Step(7, constant_scales=True),
    "int8-full": Step(8, constant_scales=True),
    "int8-rows": Step(7),
    "int8-rows-full": Step(8),
    "int14": Step(14),
    "int14-both": Step(14, two_parts=True),
    "fp32": Step(32),
}
# From fast to slow, by the processor that will serve.
# - x86_64: any processor with AVX2. Its kernel for u8 times s8 saturates when two products of 8 by
#   8 bits are added, so 7 bits are the fast ones. Its kernel for u8 times u8 doesn't saturate and
#   is slower. Two products of 7 bits take longer there than fp32.
# - x86_64-vnni: u8 times s8 is the fast kernel, and doesn't saturate.
# - arm64: one kernel with the dot product for both (MlasGemmU8X8DispatchUdot in ONNX Runtime), so
#   7 bits gain nothing over 8.
LADDERS = {
    "arm64": ("int8-full", "int8-rows-full", "int14", "int14-both", "fp32"),
    "x86_64-vnni": ("int8-full", "int8-rows-full", "int14", "int14-both", "fp32"),
    "x86_64": ("int8", "int8-rows", "int8-full", "int8-rows-full", "fp32"),
}


def scales(weight: Floats, highest: int) -> Floats:
    """The scale of each column, with which its largest absolute value becomes `highest`."""
    scale: Floats = (np.maximum(np.abs(weight).max(0), TINY) / highest).astype(np.float32)
    return scale


def fourteen_bits(weight: Floats) -> list[Integers]:
    """Two parts of 7 bits that add up to the weight; the first alone is the weight in 7 bits, from
    -63 to 63.
    """
    scale = scales(weight, 63)
    high = np.rint(weight / scale).astype(np.int8)
    low = np.rint((weight / scale - high) * 126).astype(np.int8)
    return [(high, scale, np.int8(0)), (low, (scale / 126).astype(np.float32), np.int8(0))]


def integers_of(
    weight: Floats,
    bits: int,
    statistics: InputStatistics | None,
    smoothing: Floats | float,
    *,
    signed: bool,
) -> list[Integers]:
    """The weight in parts: one of 7 or 8 bits, or two of 7. Its rows were multiplied by
    `smoothing`.
    """
    if bits == 14:
        return fourteen_bits(weight)
    highest = 127 if bits == 8 else 63
    scale = scales(weight, highest)
    if statistics and statistics.moments:
        integers = statistics.rounded(weight, scale, highest, smoothing)
    else:
        integers = np.rint(weight / scale).astype(np.int8)
    if signed or bits == 7:
        return [(integers, scale, np.int8(0))]
    return [((integers.astype(np.int16) + 128).astype(np.uint8), scale, np.uint8(128))]
