"""ONNX graphs written node by node, with the operators that ONNX Runtime has for a transformer on
every CPU, and the precisions they come in.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.graphs.model_file import write_model
from export.graphs.precisions import TINY, Floats, Integers, Step, fourteen_bits, integers_of
from export.graphs.rounding import InputStatistics

OPSET = 20
CONTRIB = "com.microsoft"
# What a channel may reach beyond what calibration saw, before it is cut off.
MARGIN = 1.25


class Graph:
    """One graph in the making; values are known by name.

    A quantised product's row depends on that row alone, to the last bit, whatever the step:
    integers add up in any order. `statistics` of each product's input smooth its channels, give
    constant scales, and decide how the weight is rounded. `signed`: 8-bit weights
    as int8, for VNNI; otherwise as uint8 around 128. Both give the same integers. `inputs` is where
    to look for statistics: the value that each named product takes. `entries` and `results`
    are more inputs and outputs.
    """

    def __init__(
        self,
        step: Step,
        statistics: Mapping[str, InputStatistics] | None = None,
        *,
        signed: bool = False,
    ) -> None:
        self.step = step
        self._statistics = statistics or {}
        self._signed = signed
        self.quantised = step.bits < 32
        self.inputs: dict[str, str] = {}
        self._scales: dict[str, float] = {}
        self._smoothing: dict[str, Floats] = {}
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self.entries: list[onnx.ValueInfoProto] = []
        self.results: list[onnx.ValueInfoProto] = []

    def op(
        self, kind: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: Any
    ) -> Any:
        """The name of the node's output, or a list of them."""
        name = f"{kind}.{len(self._nodes)}"
        names = [name] if outputs == 1 else [f"{name}.{i}" for i in range(outputs)]
        self._nodes.append(
            helper.make_node(kind, list(inputs), names, name=name, domain=domain, **attributes)
        )
        return name if outputs == 1 else names

    def constant(self, value: Any) -> str:
        name = f"constant.{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.array(value, order="C"), name))
        return name

    def smoothing(self, product: str, weight: Floats) -> Floats:
        """What to divide the channels of a product's input by, and to multiply the rows of its
        weight [k, n] with, so that channels of both sizes fit one scale (SmoothQuant, arXiv
        2211.10438, with its exponent of one half).
        """
        if product not in self._statistics:
            return np.ones(len(weight), np.float32)
        largest = self._statistics[product].largest
        factor = np.sqrt(np.maximum(largest, TINY) / np.maximum(np.abs(weight).max(1), TINY))
        smooth: Floats = (factor / np.exp(np.log(factor).mean())).astype(np.float32)
        self._smoothing[product] = smooth
        if self.step.constant_scales:
            self._scales[product] = float(MARGIN * (largest / smooth).max() / 127)
        return smooth

    def linear(
        self, x: str, weight: Floats, bias: Floats, product: str, *, least: float | None = None
    ) -> str:
        """x [r, k] @ weight [k, n] + bias [n]; `least` is the least that x can hold, if that is
        known and near.
        """
        self.inputs[product] = x
        if not self.quantised:
            return str(
                self.op("Add", self.op("MatMul", x, self.constant(weight)), self.constant(bias))
            )
        if product in self._scales:
            (integers, scale, zero), *_ = self._integers(weight, product)
            x, step, middle = self._quantise(x, product)
            inputs = [
                self.constant(integers),
                step,
                self.constant(scale),
                middle,
                self.constant(zero),
                self.constant(bias),
            ]
            return str(self.op("MatMulIntegerToFloat", x, *inputs, domain=CONTRIB))
        parts = self._integers(weight, product)
        last = self.constant(np.array([1]))
        stored = self._stored(parts)
        if least is None:
            highest = self.op("Abs", x)
            steps = 127
        else:
            # Moved to begin at 0, all 8 bits are for what there is; the bias takes it back.
            highest = x = self.op("Add", x, self.constant(np.float32(-least)))
            sums = [
                scale * (integers.astype(np.int32) - offset).sum(0)
                for integers, scale, offset in parts
            ]
            bias = (bias + least * sum(sums)).astype(np.float32)
            steps = 255
        highest = self.op("ReduceMax", highest, last, keepdims=0)
        step = self.op(
            "Max",
            self.op("Mul", highest, self.constant(np.float32(1 / steps))),
            self.constant(TINY),
        )
        offset = 128 if least is None else 0
        zeros = self.op(
            "Expand", self.constant(np.array([offset], np.uint8)), self.op("Shape", step)
        )
        quantised = self.op("QuantizeLinear", x, step, zeros, axis=0)
        rows = self._products(quantised, stored, offset, 1)
        if self.step.two_parts:
            # What rounding left is at most half a step; its product with the low bits of the weight
            # is too small to matter.
            x = self.op("Sub", x, self.op("DequantizeLinear", quantised, step, zeros, axis=0))
            fine = self.op("Mul", step, self.constant(np.float32(1 / 254)))
            zeros = self.op(
                "Expand", self.constant(np.array([128], np.uint8)), self.op("Shape", step)
            )
            quantised = self.op("QuantizeLinear", x, fine, zeros, axis=0)
            rows = self.op("Add", rows, self._products(quantised, stored[:1], 128, 1 / 254))
        return str(
            self.op(
                "Add", self.op("Mul", rows, self.op("Unsqueeze", step, last)), self.constant(bias)
            )
        )

    def bytes_linear(self, x: str, weight: Floats) -> str:
        """uint8 x [..., k] @ weight [k, n]. Bytes need no scale, and two products of 7 bits hold 14
        bits of a weight.
        """
        if not self.quantised:
            return str(
                self.op("MatMul", self.op("Cast", x, to=TensorProto.FLOAT), self.constant(weight))
            )
        return self._products(x, self._stored(fourteen_bits(weight)), 0, 1)

    def attention(
        self,
        x: str,
        weight: Floats,
        bias: Floats,
        product: str,
        heads: int,
        shape: str,
        *,
        causal: bool,
        seen: str = "",
    ) -> str:
        """Attention of x [n * s, d] with itself; weight [d, 3 d] and bias [3 d] give queries, keys
        and values, `shape` is [n, s, d]. `seen` int32 [n, s]: 0 for rows that none attends to.
        """
        if product in self._scales:
            self.inputs[product] = x
            (integers, scale, zero), *_ = self._integers(weight, product)
            x, step, middle = self._quantise(x, product)
            weights = (self.constant(integers), self.constant(bias), step, self.constant(scale))
            inputs = (self.op("Reshape", x, shape), *weights, seen, middle, self.constant(zero))
            attended = self.op(
                "QAttention", *inputs, domain=CONTRIB, num_heads=heads, unidirectional=int(causal)
            )
        else:
            parts = self.op(
                "Split", self.linear(x, weight, bias, product), outputs=3, axis=1, num_outputs=3
            )
            parts = [self.op("Reshape", part, shape) for part in parts]
            attended = self.op(
                "MultiHeadAttention",
                *parts,
                *(("", seen) if seen else ()),
                domain=CONTRIB,
                num_heads=heads,
                unidirectional=int(causal),
            )
        return str(self.op("Reshape", attended, self.constant(np.array([-1, len(weight)]))))

    def _integers(self, weight: Floats, product: str) -> list[Integers]:
        return integers_of(
            weight,
            self.step.bits,
            self._statistics.get(product),
            self._smoothing.get(product, 1.0),
            signed=self._signed,
        )

    def _quantise(self, x: str, product: str) -> tuple[str, str, str]:
        step = self.constant(np.float32(self._scales[product]))
        middle = self.constant(np.uint8(128))
        return str(self.op("QuantizeLinear", x, step, middle)), step, middle

    def _stored(self, parts: Sequence[Integers]) -> list[tuple[str, str, str]]:
        return [
            (self.constant(part), self.constant(by), self.constant(of)) for part, by, of in parts
        ]

    def _products(
        self, x: str, parts: Sequence[tuple[str, str, str]], middle: int, step: float
    ) -> str:
        """The sum of x's products with the parts of a weight; x holds integers of `step` around
        `middle`.
        """
        scale_of_x = self.constant(np.float32(step))
        zero_of_x = self.constant(np.uint8(middle))
        results = [
            self.op("MatMulIntegerToFloat", *inputs, domain=CONTRIB)
            for inputs in (
                (x, integers, scale_of_x, scale, zero_of_x, zero) for integers, scale, zero in parts
            )
        ]
        return str(self.op("Add", *results) if len(results) > 1 else results[0])

    def write(
        self, path: Path, entry: tuple[str, int, list[Any]], result: str, dimension: int
    ) -> None:
        """Writes the graph, and its weights next to it (see `write_model`); `entry` is the input's
        name, type and shape, the output is `embeddings` [n, d].
        """
        self.op("Identity", result)
        self._nodes[-1].output[0] = "embeddings"
        inputs = [helper.make_tensor_value_info(*entry), *self.entries]
        outputs = [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["n", dimension])]
        graph = helper.make_graph(self._nodes, "encoder", inputs, outputs + self.results)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        # The weights leave memory one by one.
        self._constants.reverse()
        write_model(model, (self._constants.pop() for _ in range(len(self._constants))), path)
