"""How much work a model is, from its shapes alone: multiplications, not seconds."""

from math import prod

import onnx

from export.graphs import skeleton
from export.graphs.plain import skeleton_of
from export.sources.architecture import Architecture, TextTower, Transformer

# A prompt around a label of two or three words, with its start and end tokens.
LABEL_TOKENS = 13


def costs(architecture: Architecture) -> dict[str, float]:
    """Billions of multiplications for an `image` and for a `label` that is new, and the size of the
    fp32 weights in MB.
    """
    text = architecture.text
    weights = sum(map(prod, architecture.shapes().values()))
    return {
        "image": round(traced(skeleton_of(architecture)) / 1e9, 3),
        "label": round(_label(text, architecture.dimension) / 1e9, 3),
        "megabytes": round(4 * weights / 1e6),
    }


def _label(text: TextTower, dimension: int) -> int:
    """A text that doesn't run at its own length is filled up to the context length."""
    positions = min(LABEL_TOKENS, text.context_length) if text.own_length else text.context_length
    shapes = text.text_shapes(dimension)
    projection = sum(
        prod(shape)
        for name, shape in shapes.items()
        if len(shape) == 2 and name.startswith(("text_projection", "proj."))
    )
    return _blocks(text, positions) + projection


def _blocks(tower: Transformer, positions: int) -> int:
    products = positions * (4 * tower.width**2 + 2 * tower.width * tower.hidden)
    return tower.layers * (products + 2 * positions**2 * tower.width)


def traced(model: onnx.ModelProto) -> int:
    """Multiplications of a traced graph's products, convolutions and attention, for one image."""
    graph = model.graph
    shapes = skeleton.value_shapes(graph)
    work = 0
    for node in graph.node:
        if node.op_type == "Conv":
            work += prod(shapes[node.output[0]]) * prod(shapes[node.input[1]][1:])
        elif node.op_type in ("MatMul", "Gemm"):
            # A row of the second matrix is as wide as the output, transposed or not.
            first, output = shapes[node.input[0]], shapes[node.output[0]]
            work += prod(output) * prod(first) // prod(output[:-1])
        elif node.op_type == "MultiHeadAttention":
            queries, keys, values = (shapes[name] for name in node.input[:3])
            work += queries[-2] * keys[-2] * (queries[-1] + values[-1])
    return work
