"""The transformer that both towers have, as nodes of a graph."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from export.architecture import Transformer
from export.graph import CONTRIB, Graph
from export.precisions import Floats

# float32 arrays by open_clip's names. Each is read when it is asked for, so that few are in memory
# at a time.
Arrays = Mapping[str, Floats]
# The slope of QuickGELU's sigmoid (openai/CLIP, clip/model.py), and the least values of x *
# sigmoid(x) and of GELU.
SLOPE = 1.702
LEAST_SILU = -0.2785
LEAST_GELU = -0.17


def transformer(
    graph: Graph,
    tower: Transformer,
    arrays: Arrays,
    prefix: str,
    x: str,
    shape: str,
    *,
    causal: bool,
    pick: Any,
) -> str:
    """x [n, s, d] to the row [n, d] that `pick` takes: behind the last attention no other row
    matters.
    """
    x = graph.op("Reshape", x, graph.constant(np.array([-1, tower.width])))
    width = tower.width
    for i in range(tower.layers):
        block = f"{prefix}.resblocks.{i}"
        weight = arrays[f"{block}.attn.in_proj_weight"].T.copy()
        bias = arrays[f"{block}.attn.in_proj_bias"].copy()
        out, out_bias = _weights(
            arrays, f"{block}.attn.out_proj", f"{block}.ls_1" if tower.layer_scale else None
        )
        # What attention gives is a mean of values: smoothing it is smoothing these.
        smoothing = graph.smoothing(f"{i}.out_proj", out)
        weight[:, 2 * width :] /= smoothing
        bias[2 * width :] /= smoothing
        y, weight = _smoothed_norm(
            graph, arrays, f"{block}.ln_1", tower.epsilon, x, weight, f"{i}.in_proj"
        )
        y = graph.attention(y, weight, bias, f"{i}.in_proj", tower.heads, shape, causal=causal)
        if i == tower.layers - 1:
            x, y = (pick(graph.op("Reshape", rows, shape)) for rows in (x, y))
        x = graph.op("Add", x, graph.linear(y, out * smoothing[:, None], out_bias, f"{i}.out_proj"))
        weight, bias = _weights(arrays, f"{block}.mlp.c_fc")
        if tower.quick_gelu:
            # x * sigmoid(slope * x) with the slope in the weights: one pass less.
            weight = SLOPE * weight
            bias = SLOPE * bias
        y, weight = _smoothed_norm(
            graph, arrays, f"{block}.ln_2", tower.epsilon, x, weight, f"{i}.c_fc"
        )
        y = graph.linear(y, weight, bias, f"{i}.c_fc")
        y = (
            graph.op("QuickGelu", y, domain=CONTRIB, alpha=1.0)
            if tower.quick_gelu
            else graph.op("Gelu", y, approximate="tanh" if tower.tanh_gelu else "none")
        )
        weight, bias = _weights(
            arrays, f"{block}.mlp.c_proj", f"{block}.ls_2" if tower.layer_scale else None
        )
        # Behind an activation single rows reach far: scaled row by row, they don't blur the rest.
        least = LEAST_SILU if tower.quick_gelu else LEAST_GELU
        y = graph.linear(
            y, weight / SLOPE if tower.quick_gelu else weight, bias, f"{i}.c_proj", least=least
        )
        x = graph.op("Add", x, y)
    return x


def norm(
    graph: Graph, arrays: Arrays, name: str, epsilon: float, x: str, smoothing: Floats | float = 1.0
) -> str:
    weights = (graph.constant(arrays[f"{name}.{part}"] / smoothing) for part in ("weight", "bias"))
    return str(graph.op("LayerNormalization", x, *weights, axis=-1, epsilon=epsilon))


def _smoothed_norm(
    graph: Graph, arrays: Arrays, name: str, epsilon: float, x: str, weight: Floats, product: str
) -> tuple[str, Floats]:
    """The normalised x, and the weight of the product that takes it."""
    smoothing = graph.smoothing(product, weight)
    return norm(graph, arrays, name, epsilon, x, smoothing), weight * smoothing[:, None]


def _weights(arrays: Arrays, linear: str, scale: str | None = None) -> tuple[Floats, Floats]:
    """Weight [in, out] and bias [out], with open_clip's LayerScale inside."""
    factor = arrays[f"{scale}.gamma"] if scale else np.float32(1)
    return arrays[f"{linear}.weight"].T * factor, arrays[f"{linear}.bias"] * factor
