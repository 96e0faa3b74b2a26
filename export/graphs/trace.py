"""Traces open_clip's image towers, in fp32 on one image, as they are defined, but for attention,
which becomes an operator of ONNX Runtime.
"""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.onnx.ops import symbolic

from export.graphs.graph import OPSET
from export.graphs.skeleton import evaluate, value_shapes


class ImageTower(nn.Module):
    """uint8 [1, S, S, 3] to an embedding [1, d] that isn't normalised yet. `scale` and `shift` come
    from a tag's mean and standard deviation.
    """

    def __init__(self, visual: nn.Module) -> None:
        super().__init__()
        self.visual = visual
        self.scale = nn.Parameter(torch.ones(1, 3, 1, 1))
        self.shift = nn.Parameter(torch.zeros(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Any:
        x = pixels.permute(0, 3, 1, 2).to(torch.float32) * self.scale + self.shift
        result = self.visual(x)
        return result[0] if isinstance(result, tuple) else result  # CoCa's has tokens next to it


def trace(visual: nn.Module) -> onnx.ModelProto:
    size: Any = visual.image_size
    side = size[0] if isinstance(size, tuple) else size
    tower = ImageTower(visual).eval()
    with torch.no_grad(), warnings.catch_warnings(), fused_attention():
        warnings.simplefilter("ignore")  # the exporter warns of its own internals
        program = torch.onnx.export(
            tower,
            (torch.zeros(1, side, side, 3, dtype=torch.uint8),),
            dynamo=True,
            input_names=["pixels"],
            output_names=["embeddings"],
            opset_version=OPSET,
            verbose=False,
            optimize=False,
        )
    assert program is not None
    shapes = {name: list(tensor.shape) for name, tensor in tower.state_dict().items()}
    for name, value in program.model.graph.initializers.items():
        if name in shapes:
            value.const_value = ir.tensor(np.zeros(0, np.float32))
    return without_weights(program.model_proto, shapes)


def without_weights(model: onnx.ModelProto, weight_shapes: dict[str, list[int]]) -> onnx.ModelProto:
    """The graph alone: weights keep name, type and shape. What follows from constants is computed,
    and equal constants are one.
    """
    traced = model.graph
    shapes = value_shapes(traced) | {name: tuple(shape) for name, shape in weight_shapes.items()}
    arrays: dict[str, Any] = {}
    weights: dict[str, onnx.TensorProto] = {}
    for tensor in traced.initializer:
        name = tensor.name
        if name in weight_shapes:
            weights[name] = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shapes[name])
        else:
            arrays[name] = numpy_helper.to_array(tensor)
    nodes = []
    for node in traced.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
        node.ClearField("name")
        if node.op_type == "Shape":
            whole = np.array(shapes[node.input[0]], np.int64)
            bounds = {attribute.name: attribute.i for attribute in node.attribute}
            arrays[node.output[0]] = whole[bounds.get("start") : bounds.get("end")]
        elif node.op_type == "CastLike" and node.input[0] in arrays:
            arrays[node.output[0]] = np.asarray(arrays[node.input[0]], np.float32)
        elif all(name in arrays for name in node.input if name):
            inputs = [arrays[name] if name else None for name in node.input]
            arrays |= zip(node.output, evaluate(node, inputs), strict=True)
        else:
            nodes.append(node)
    first: dict[tuple[Any, ...], str] = {}
    for node in nodes:
        for i, name in enumerate(node.input):
            if name in arrays:
                key = arrays[name].dtype, arrays[name].shape, arrays[name].tobytes()
                node.input[i] = first.setdefault(key, name)
    used = {name for node in nodes for name in node.input}
    kept = [weight for name, weight in weights.items() if name in used]
    kept += [numpy_helper.from_array(arrays[name], name) for name in first.values()]
    made = {name for node in nodes for name in node.output}
    values = [
        helper.make_tensor_value_info(
            value.name, value.type.tensor_type.elem_type, shapes[value.name]
        )
        for value in traced.value_info
        if value.name in made
    ]
    graph = helper.make_graph(
        nodes, "tower", traced.input, traced.output, initializer=kept, value_info=values
    )
    skeleton = helper.make_model(
        graph, opset_imports=model.opset_import, ir_version=model.ir_version
    )
    return onnx.shape_inference.infer_shapes(skeleton)


@contextlib.contextmanager
def fused_attention() -> Iterator[None]:
    """While a tower is traced, attention is one node."""
    own = F.scaled_dot_product_attention

    def attention(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
    ) -> Tensor:
        assert attn_mask is None and not is_causal
        batch, heads, rows, _ = query.shape
        width = heads * value.shape[-1]
        inputs = [part.transpose(1, 2).flatten(2) for part in (query, key, value)]
        options: dict[str, Any] = {"num_heads": heads} | ({"scale": scale} if scale else {})
        result = symbolic(
            "com.microsoft::MultiHeadAttention",
            inputs,
            options,
            dtype=torch.float32,
            shape=(batch, rows, width),
            version=1,
        )
        return result.view(batch, rows, heads, -1).transpose(1, 2)

    F.scaled_dot_product_attention = attention
    try:
        yield
    finally:
        F.scaled_dot_product_attention = own
