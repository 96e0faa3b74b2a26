"""The transformer of texts, as nodes of a graph."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from export.graphs.beginning import Beginning
from export.graphs.graph import CONTRIB, Graph
from export.graphs.precisions import LEAST, Floats
from export.sources.architecture import Transformer

# float32 arrays by open_clip's names. Each is read when it is asked for, so that few are in memory
# at a time.
Arrays = Mapping[str, Floats]
# The slope of QuickGELU's sigmoid (openai/CLIP, clip/model.py).
SLOPE = 1.702


def transformer(
    graph: Graph,
    tower: Transformer,
    arrays: Arrays,
    prefix: str,
    x: str,
    shape: str,
    *,
    causal: bool,
    pick: Any = None,
    seen: str = "",
    beginning: Beginning | None = None,
) -> str:
    """x [n, s, d] to the row [n, d] that `pick` takes: behind the last attention no other row
    matters. Without it, to all rows [n * s, d]. `seen`: see Graph.attention.
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
        if beginning:
            beginning.enter(f"{block}.ln_1", weight[:, width:], bias[width:])
        y, weight = _smoothed_norm(
            graph, arrays, f"{block}.ln_1", tower.epsilon, x, weight, f"{i}.in_proj"
        )
        if beginning:
            y = beginning.attention(y, weight, bias, f"{i}.in_proj", i, shape)
        else:
            y = graph.attention(
                y, weight, bias, f"{i}.in_proj", tower.heads, shape, causal=causal, seen=seen
            )
        if pick and i == tower.layers - 1:
            x, y = (pick(graph.op("Reshape", rows, shape)) for rows in (x, y))
        out *= smoothing[:, None]
        x = graph.op("Add", x, graph.linear(y, out, out_bias, f"{i}.out_proj"))
        weight, bias = _weights(arrays, f"{block}.mlp.c_fc")
        if beginning:
            beginning.add(out, out_bias)
            beginning.enter(f"{block}.ln_2", weight, bias, tower.activation)
        quick_gelu = tower.activation == "quick_gelu"
        if quick_gelu:
            # x * sigmoid(slope * x) with the slope in the weights: one pass less.
            weight = SLOPE * weight
            bias = SLOPE * bias
        y, weight = _smoothed_norm(
            graph, arrays, f"{block}.ln_2", tower.epsilon, x, weight, f"{i}.c_fc"
        )
        y = graph.linear(y, weight, bias, f"{i}.c_fc")
        y = activation(graph, tower, y)
        weight, bias = _weights(
            arrays, f"{block}.mlp.c_proj", f"{block}.ls_2" if tower.layer_scale else None
        )
        if beginning:
            beginning.add(weight, bias)
        # Behind an activation single rows reach far: scaled row by row, they don't blur the rest.
        if quick_gelu:
            weight = weight / SLOPE
        y = graph.linear(y, weight, bias, f"{i}.c_proj", least=LEAST[tower.activation])
        x = graph.op("Add", x, y)
    return x


def post_norm_transformer(
    graph: Graph, tower: Transformer, arrays: Arrays, prefix: str, x: str, shape: str
) -> str:
    """As `transformer` without a pick, with each LayerNorm behind its sum, as in BERT."""
    x = graph.op("Reshape", x, graph.constant(np.array([-1, tower.width])))
    for i in range(tower.layers):
        block = f"{prefix}.resblocks.{i}"
        weight = arrays[f"{block}.attn.in_proj_weight"].T.copy()
        bias = arrays[f"{block}.attn.in_proj_bias"].copy()
        out, out_bias = _weights(arrays, f"{block}.attn.out_proj")
        smoothing = graph.smoothing(f"{i}.out_proj", out)
        weight[:, 2 * tower.width :] /= smoothing
        bias[2 * tower.width :] /= smoothing
        y = graph.attention(x, weight, bias, f"{i}.in_proj", tower.heads, shape, causal=False)
        y = graph.linear(y, out * smoothing[:, None], out_bias, f"{i}.out_proj")
        x = norm(graph, arrays, f"{block}.ln_1", tower.epsilon, graph.op("Add", x, y))
        y = graph.linear(x, *_weights(arrays, f"{block}.mlp.c_fc"), f"{i}.c_fc")
        y = activation(graph, tower, y)
        weight, bias = _weights(arrays, f"{block}.mlp.c_proj")
        y = graph.linear(y, weight, bias, f"{i}.c_proj", least=LEAST[tower.activation])
        x = norm(graph, arrays, f"{block}.ln_2", tower.epsilon, graph.op("Add", x, y))
    return x


def activation(graph: Graph, tower: Transformer, x: str) -> str:
    if tower.activation == "quick_gelu":
        return str(graph.op("QuickGelu", x, domain=CONTRIB, alpha=1.0))
    if tower.activation == "relu":
        return str(graph.op("Relu", x))
    approximation = "tanh" if tower.activation == "tanh_gelu" else "none"
    return str(graph.op("Gelu", x, approximate=approximation))


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
