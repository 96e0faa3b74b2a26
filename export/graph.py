"""ONNX graphs written node by node: the operators that ONNX Runtime has for a transformer on every CPU, in fp32 and in 8 bits."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 20
CONTRIB = "com.microsoft"
TINY = np.float32(1e-12)
# What a channel may reach beyond what calibration saw, before it is cut off.
MARGIN = 1.25
Floats = NDArray[np.float32]


class Graph:
    """One graph in the making; values are known by name.

    8-bit products scale what comes in row by row, by the row's largest value, or, where `largest` holds what their channels reach,
    by one constant, which takes fewer passes. Either way a row's result depends on that row alone, to the last bit: integers add up
    in any order. `inputs` is where to look for what the channels reach: the value that each named product takes.
    """

    def __init__(self, precision: str, largest: Mapping[str, Floats] | None = None) -> None:
        self.eight, self._largest = precision == "int8", largest or {}
        self.inputs: dict[str, str] = {}
        self._steps: dict[str, float] = {}
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

    def smoothing(self, product: str, weight: Floats) -> Floats:
        """What to divide the channels of a product's input by, and to multiply the rows of its weight [k, n] with, so that channels
        of both sizes fit one scale (SmoothQuant, arXiv 2211.10438, with its exponent of one half)."""
        if product not in self._largest:
            return np.ones(len(weight), np.float32)
        factor = np.sqrt(np.maximum(self._largest[product], TINY) / np.maximum(np.abs(weight).max(1), TINY))
        smooth: Floats = (factor / np.exp(np.log(factor).mean())).astype(np.float32)
        self._steps[product] = float(MARGIN * (self._largest[product] / smooth).max() / 127)
        return smooth

    def linear(self, x: str, weight: Floats, bias: Floats, product: str = "", *, least: float | None = None) -> str:
        """x [r, k] @ weight [k, n] + bias [n]; `least` is the least that x can hold, where that is known and near."""
        if product:
            self.inputs[product] = x
        if not self.eight:
            return str(self.op("Add", self.op("MatMul", x, self.constant(weight)), self.constant(bias)))
        integers, scale = seven_bits(weight)
        if product in self._steps:
            x, step, zero = self._quantised(x, product)
            inputs = [self.constant(integers), step, self.constant(scale), zero, "", self.constant(bias)]
            return str(self.op("MatMulIntegerToFloat", x, *inputs, domain=CONTRIB))
        last = self.constant(np.array([1]))
        if least is None:
            highest, steps = self.op("Abs", x), 127
        else:
            # Moved to begin at 0, all 8 bits are for what there is; the bias takes it back.
            highest = x = self.op("Add", x, self.constant(np.float32(-least)))
            bias, steps = bias + least * scale * integers.sum(0, dtype=np.float32), 255
        highest = self.op("ReduceMax", highest, last, keepdims=0)
        step = self.op("Max", self.op("Mul", highest, self.constant(np.float32(1 / steps))), self.constant(TINY))
        inputs = [self.constant(integers), self.constant(np.float32(1)), self.constant(scale)]
        if least is None:
            zero = self.op("Expand", self.constant(np.array([128], np.uint8)), self.op("Shape", step))
            x = self.op("QuantizeLinear", x, step, zero, axis=0)
            inputs.append(self.constant(np.uint8(128)))
        else:
            x = self.op("QuantizeLinear", x, step, axis=0)
        rows = self.op("MatMulIntegerToFloat", x, *inputs, domain=CONTRIB)
        return str(self.op("Add", self.op("Mul", rows, self.op("Unsqueeze", step, last)), self.constant(bias)))

    def bytes_linear(self, x: str, weight: Floats) -> str:
        """uint8 x [..., k] @ weight [k, n]. Bytes need no scale, and two products of 8 bits hold 14 bits of a weight."""
        if not self.eight:
            return str(self.op("MatMul", self.op("Cast", x, to=TensorProto.FLOAT), self.constant(weight)))
        high, scale = seven_bits(weight)
        low = np.rint((weight / scale - high) * 126).astype(np.int8)
        one, zero = self.constant(np.float32(1)), self.constant(np.uint8(0))
        parts = [
            self.op("MatMulIntegerToFloat", x, self.constant(integers), one, self.constant(step), zero, domain=CONTRIB)
            for integers, step in ((high, scale), (low, scale / 126))
        ]
        return str(self.op("Add", *parts))

    def attention(self, x: str, weight: Floats, bias: Floats, product: str, heads: int, shape: str, *, causal: bool) -> str:
        """Attention of x [n * s, d] with itself; weight [d, 3 d] and bias [3 d] give queries, keys and values, `shape` is [n, s, d]."""
        if self.eight and product in self._steps:
            integers, scale = seven_bits(weight)
            x, step, zero = self._quantised(x, product)
            inputs = (
                self.op("Reshape", x, shape),
                self.constant(integers),
                self.constant(bias),
                step,
                self.constant(scale),
                "",
                zero,
            )
            attended = self.op("QAttention", *inputs, domain=CONTRIB, num_heads=heads, unidirectional=int(causal))
        else:
            parts = self.op("Split", self.linear(x, weight, bias, product), outputs=3, axis=1, num_outputs=3)
            parts = [self.op("Reshape", part, shape) for part in parts]
            attended = self.op("MultiHeadAttention", *parts, domain=CONTRIB, num_heads=heads, unidirectional=int(causal))
        return str(self.op("Reshape", attended, self.constant(np.array([-1, len(weight)]))))

    def _quantised(self, x: str, product: str) -> tuple[str, str, str]:
        step, zero = self.constant(np.float32(self._steps[product])), self.constant(np.uint8(128))
        return str(self.op("QuantizeLinear", x, step, zero)), step, zero

    def write(self, path: Path, given: tuple[str, int, list[Any]], result: str, dimension: int) -> None:
        """The graph with its weights in one file; `given` is the input's name, type and shape, the output is `embeddings` [n, d]."""
        self.op("Identity", result)
        self._nodes[-1].output[0] = "embeddings"
        inputs = [helper.make_tensor_value_info(*given)]
        outputs = [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["n", dimension])]
        graph = helper.make_graph(self._nodes, "encoder", inputs, outputs)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        # The weights move into the model one by one: two copies of them are in memory at most.
        self._constants.reverse()
        while self._constants:
            model.graph.initializer.append(self._constants.pop())
        path.write_bytes(model.SerializeToString(deterministic=True))


def calibrate(path: Path, inputs: Mapping[str, str], given: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, Floats]:
    """The largest absolute value of every channel of the named values, over runs of the graph at `path`."""
    model = onnx.load(path)
    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in inputs.values())
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = {product: np.zeros(1, np.float32) for product in inputs}
    for one in given:
        values = session.run(list(inputs.values()), one)
        found = {product: np.maximum(found[product], np.abs(value).max(0)) for product, value in zip(inputs, values, strict=True)}
    return found


def seven_bits(weight: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Integers from -63 to 63 and a scale a column.

    Processors without VNNI saturate when they add two products of 8 bits by 8; with 7 a bundle says the same everywhere.
    """
    scale = (np.maximum(np.abs(weight).max(0), TINY) / 63).astype(np.float32)
    return np.rint(weight / scale).astype(np.int8), scale
