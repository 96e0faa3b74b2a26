"""The graph of a plain vision transformer as if it were traced: weights have names and shapes."""

import numpy as np
import onnx
from onnx import TensorProto, helper

from export.graphs import skeleton
from export.graphs.graph import CONTRIB, OPSET, Graph
from export.graphs.precisions import STEPS
from export.graphs.transformer import SLOPE
from export.sources.architecture import Architecture, ImageTower, TracedTower


def skeleton_of(architecture: Architecture) -> onnx.ModelProto:
    """The graph of an image tower without its weights: read, or made from its definition."""
    image = architecture.image
    if isinstance(image, TracedTower):
        return skeleton.read(image.skeleton)
    return PlainTower(image).proto(architecture)


class PlainTower(Graph):
    """open_clip's VisionTransformer, with one image."""

    def __init__(self, tower: ImageTower) -> None:
        super().__init__(STEPS["fp32"])
        self._tower = tower

    def proto(self, architecture: Architecture) -> onnx.ModelProto:
        tower = self._tower
        scale, shift = skeleton.PIXELS
        shapes = {scale: (1, 3, 1, 1), shift: (1, 3, 1, 1), **architecture.shapes()}
        weights = [
            TensorProto(name=name, dims=shape, data_type=TensorProto.FLOAT)
            for name, shape in shapes.items()
            if name in skeleton.PIXELS or name.startswith("visual.")
        ]
        x = self.op("Cast", self.op("Transpose", "pixels", perm=[0, 3, 1, 2]), to=TensorProto.FLOAT)
        x = self.op("Add", self.op("Mul", x, scale), shift)
        x = self.op("Conv", x, "visual.conv1.weight", strides=[tower.patch_size] * 2)
        x = self.op("Reshape", x, self.constant([1, tower.width, -1]))
        first = self.op("Unsqueeze", "visual.class_embedding", self.constant([0, 1]))
        x = self.op("Concat", first, self.op("Transpose", x, perm=[0, 2, 1]), axis=1)
        x = self.op("Add", x, "visual.positional_embedding")
        if tower.ln_pre:
            x = self._norm(x, "visual.ln_pre")
        for i in range(tower.layers):
            x = self._block(x, f"visual.transformer.resblocks.{i}")
        x = self.op("Gather", self._norm(x, "visual.ln_post"), self.constant(0), axis=1)
        result = self.op("MatMul", x, "visual.proj")
        side = tower.image_size
        pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, [1, side, side, 3])
        embeddings = helper.make_tensor_value_info(result, TensorProto.FLOAT, None)
        # ONNX doesn't know the shapes that ONNX Runtime's own operators give.
        attended = [
            helper.make_tensor_value_info(
                node.output[0], TensorProto.FLOAT, [1, tower.positions, tower.width]
            )
            for node in self._nodes
            if node.domain == CONTRIB
        ]
        constants = [*self._constants, *weights]
        graph = helper.make_graph(
            self._nodes, "tower", [pixels], [embeddings], constants, value_info=attended
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        return onnx.shape_inference.infer_shapes(model)

    def _block(self, x: str, name: str) -> str:
        tower = self._tower
        y = self._linear(self._norm(x, f"{name}.ln_1"), f"{name}.attn.in_proj_")
        parts = self.op("Split", y, outputs=3, axis=2, num_outputs=3)
        y = self.op("MultiHeadAttention", *parts, domain=CONTRIB, num_heads=tower.heads)
        x = self.op("Add", x, self._linear(y, f"{name}.attn.out_proj.", f"{name}.ls_1"))
        y = self._linear(self._norm(x, f"{name}.ln_2"), f"{name}.mlp.c_fc.")
        if tower.activation == "quick_gelu":
            gate = self.op("Sigmoid", self.op("Mul", y, self.constant(np.float32(SLOPE))))
            y = self.op("Mul", y, gate)
        else:
            approximation = "tanh" if tower.activation == "tanh_gelu" else "none"
            y = self.op("Gelu", y, approximate=approximation)
        return str(self.op("Add", x, self._linear(y, f"{name}.mlp.c_proj.", f"{name}.ls_2")))

    def _linear(self, x: str, name: str, scale: str = "") -> str:
        y = self.op("MatMul", x, self.op("Transpose", f"{name}weight", perm=[1, 0]))
        y = self.op("Add", y, f"{name}bias")
        return str(self.op("Mul", y, f"{scale}.gamma") if scale and self._tower.layer_scale else y)

    def _norm(self, x: str, name: str) -> str:
        weights = (f"{name}.weight", f"{name}.bias")
        return str(self.op("LayerNormalization", x, *weights, epsilon=self._tower.epsilon))
