"""The graph of a plain vision transformer as if it were traced: weights have names and shapes."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.graphs.graph import CONTRIB, OPSET
from export.graphs.skeleton import PIXELS
from export.graphs.transformer import SLOPE
from export.sources.architecture import ImageTower, Shapes, TracedTower


def plain_skeleton(tower: ImageTower | TracedTower, shapes: Shapes) -> onnx.ModelProto:
    """open_clip's VisionTransformer for one image, from its definition; `shapes` are those of its
    weights.
    """
    assert isinstance(tower, ImageTower)
    return _Skeleton(tower).write(shapes)


class _Skeleton:
    def __init__(self, tower: ImageTower) -> None:
        self._tower = tower
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        # ONNX doesn't know the shape of what ONNX Runtime's own operators give.
        self._attended: list[onnx.ValueInfoProto] = []

    def write(self, shapes: Shapes) -> onnx.ModelProto:
        tower = self._tower
        op = self._op
        x = op("Cast", op("Transpose", "pixels", perm=[0, 3, 1, 2]), to=TensorProto.FLOAT)
        x = op("Add", op("Mul", x, PIXELS[0]), PIXELS[1])
        x = op("Conv", x, "visual.conv1.weight", strides=[tower.patch_size] * 2)
        x = op("Reshape", x, self._constant(np.array([1, tower.width, -1])))
        first = op("Unsqueeze", "visual.class_embedding", self._constant(np.array([0, 1])))
        x = op("Concat", first, op("Transpose", x, perm=[0, 2, 1]), axis=1)
        x = op("Add", x, "visual.positional_embedding")
        if tower.ln_pre:
            x = self._norm(x, "visual.ln_pre")
        for i in range(tower.layers):
            x = self._block(x, f"visual.transformer.resblocks.{i}")
        x = op("Gather", self._norm(x, "visual.ln_post"), self._constant(np.array(0)), axis=1)
        self._op("MatMul", x, "visual.proj")
        weights = {name: shape for name, shape in shapes.items() if name.startswith("visual.")}
        weights |= dict.fromkeys(PIXELS, (1, 3, 1, 1))
        dims = [1, tower.image_size, tower.image_size, 3]
        graph = helper.make_graph(
            self._nodes,
            "tower",
            [helper.make_tensor_value_info("pixels", TensorProto.UINT8, dims)],
            [helper.make_tensor_value_info(self._nodes[-1].output[0], TensorProto.FLOAT, None)],
            [
                *self._constants,
                *(
                    TensorProto(name=name, dims=shape, data_type=TensorProto.FLOAT)
                    for name, shape in weights.items()
                ),
            ],
            value_info=self._attended,
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        return onnx.shape_inference.infer_shapes(model)

    def _block(self, x: str, name: str) -> str:
        tower = self._tower
        y = self._linear(self._norm(x, f"{name}.ln_1"), f"{name}.attn.in_proj_")
        parts = self._op("Split", y, outputs=3, axis=2, num_outputs=3)
        y = self._op("MultiHeadAttention", *parts, domain=CONTRIB, num_heads=tower.heads)
        dims = [1, tower.positions, tower.width]
        self._attended.append(helper.make_tensor_value_info(y, TensorProto.FLOAT, dims))
        y = self._linear(y, f"{name}.attn.out_proj.", f"{name}.ls_1")
        x = self._op("Add", x, y)
        y = self._linear(self._norm(x, f"{name}.ln_2"), f"{name}.mlp.c_fc.")
        if tower.activation == "quick_gelu":
            slope = self._constant(np.float32(SLOPE))
            y = self._op("Mul", y, self._op("Sigmoid", self._op("Mul", y, slope)))
        else:
            approximation = "tanh" if tower.activation == "tanh_gelu" else "none"
            y = self._op("Gelu", y, approximate=approximation)
        return str(self._op("Add", x, self._linear(y, f"{name}.mlp.c_proj.", f"{name}.ls_2")))

    def _linear(self, x: str, name: str, scale: str = "") -> str:
        y = self._op("MatMul", x, self._op("Transpose", f"{name}weight", perm=[1, 0]))
        y = self._op("Add", y, f"{name}bias")
        return str(self._op("Mul", y, f"{scale}.gamma") if scale and self._tower.layer_scale else y)

    def _norm(self, x: str, name: str) -> str:
        weights = (f"{name}.weight", f"{name}.bias")
        return str(self._op("LayerNormalization", x, *weights, epsilon=self._tower.epsilon))

    def _op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """The name of the node's output, or a list of them."""
        names = [f"{kind}.{len(self._nodes)}.{i}" for i in range(outputs)]
        self._nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    def _constant(self, value: Any) -> str:
        name = f"constant.{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name
