"""ONNX graphs written node by node: the operators that ONNX Runtime has for a transformer on every CPU, in fp32 and in 8 bits."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 20
CONTRIB = "com.microsoft"
Floats = NDArray[np.float32]


class Graph:
    """One graph in the making; values are known by name.

    `rows`: 8-bit products scale their activations row by row, so that a row's result depends on that row alone, to the last bit:
    integers add up in any order. Otherwise ("whole") the whole tensor gets one scale, which fused operators do faster.
    """

    def __init__(self, precision: str, *, rows: bool) -> None:
        self.eight, self.rows = precision == "int8", rows
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def op(self, kind: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: Any) -> Any:
        """The name of the node's output, or a list of them."""
        name = f"{kind}.{len(self._nodes)}"
        names = [name] if outputs == 1 else [f"{name}.{i}" for i in range(outputs)]
        self._nodes.append(helper.make_node(kind, list(inputs), names, name=name, domain=domain, **attributes))
        return name if outputs == 1 else names

    def constant(self, value: Any) -> str:
        name = f"constant.{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.array(value, order="C"), name))
        return name

    def linear(self, x: str, weight: Floats, bias: Floats, *, least: float | None = None) -> str:
        """x [r, k] @ weight [k, n] + bias [n]; `least` is the least that x can hold, where that is known and near."""
        if not self.eight:
            return str(self.op("Add", self.op("MatMul", x, self.constant(weight)), self.constant(bias)))
        integers, scale = seven_bits(weight)
        if not self.rows:
            weights = (self.constant(integers), self.constant(scale), "", self.constant(bias))
            return str(self.op("DynamicQuantizeMatMul", x, *weights, domain=CONTRIB))
        last = self.constant(np.array([1]))
        if least is None:
            largest, steps = self.op("Abs", x), 127
        else:
            # Moved to begin at 0, all 8 bits are for what there is; the bias takes it back.
            largest = x = self.op("Add", x, self.constant(np.float32(-least)))
            bias, steps = bias + least * scale * integers.sum(0, dtype=np.float32), 255
        largest = self.op("ReduceMax", largest, last, keepdims=0)
        step = self.op("Max", self.op("Mul", largest, self.constant(np.float32(1 / steps))), self.constant(np.float32(1e-12)))
        inputs = [self.constant(integers), self.constant(np.float32(1)), self.constant(scale)]
        if least is None:
            zero = self.op("Expand", self.constant(np.array([128], np.uint8)), self.op("Shape", step))
            x = self.op("QuantizeLinear", x, step, zero, axis=0)
            inputs.append(self.constant(np.uint8(128)))
        else:
            x = self.op("QuantizeLinear", x, step, axis=0)
        product = self.op("MatMulIntegerToFloat", x, *inputs, domain=CONTRIB)
        product = self.op("Mul", product, self.op("Unsqueeze", step, last))
        return str(self.op("Add", product, self.constant(bias)))

    def attention(self, x: str, weight: Floats, bias: Floats, heads: int, shape: str, *, causal: bool) -> str:
        """Attention of x [n * s, d] with itself; weight [d, 3 d] and bias [3 d] give queries, keys and values, `shape` is [n, s, d]."""
        if self.eight and not self.rows:
            integers, scale = seven_bits(weight)
            x, step, zero = self.op("DynamicQuantizeLinear", self.op("Reshape", x, shape), outputs=3)
            inputs = (x, self.constant(integers), self.constant(bias), step, self.constant(scale), "", zero)
            attended = self.op("QAttention", *inputs, domain=CONTRIB, num_heads=heads, unidirectional=int(causal))
        else:
            parts = self.op("Split", self.linear(x, weight, bias), outputs=3, axis=1, num_outputs=3)
            parts = [self.op("Reshape", part, shape) for part in parts]
            attended = self.op("MultiHeadAttention", *parts, domain=CONTRIB, num_heads=heads, unidirectional=int(causal))
        return str(self.op("Reshape", attended, self.constant(np.array([-1, len(weight)]))))

    def write(self, path: Path, given: tuple[str, int, list[Any]], result: str, dimension: int) -> None:
        """The graph with its weights in one file; `given` is the input's name, type and shape, the output is `embeddings` [n, d]."""
        self.op("Identity", result)
        self._nodes[-1].output[0] = "embeddings"
        inputs = [helper.make_tensor_value_info(*given)]
        outputs = [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["n", dimension])]
        graph = helper.make_graph(self._nodes, "encoder", inputs, outputs, self._constants)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
        path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString(deterministic=True))


def seven_bits(weight: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Integers from -63 to 63 and a scale a column.

    Processors without VNNI saturate when they add two products of 8 bits by 8; with 7 a bundle says the same everywhere.
    """
    scale = (np.maximum(np.abs(weight).max(0), 1e-12) / 63).astype(np.float32)
    return np.rint(weight / scale).astype(np.int8), scale
