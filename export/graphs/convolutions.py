"""Convolutions of a traced graph that are one: with the normalisation, scale and residual behind
them, and with the convolutions next to them.

A value that is a convolution of another one is known by its kernel. Kernels are read when they are
asked for, as all weights are.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import onnx
from onnx import helper

from export.graphs.graph import Graph
from export.graphs.products import options
from export.graphs.skeleton import Array, TracedGraph

Constant = Callable[[], Array]
DEFAULTS = {"group": 1, "strides": [1, 1], "dilations": [1, 1], "pads": [0, 0, 0, 0]}
ZERO = partial(np.zeros, 1)
ONE = partial(np.ones, 1)


@dataclass(frozen=True)
class Kernel:
    """A convolution of `x` with the attributes of ONNX; `weight` [n, k, h, w] and `bias` [n].

    `scales`: it is no convolution yet, each channel is multiplied by a number [n, 1, 1, 1].
    """

    x: str
    shape: tuple[int, ...]
    attributes: dict[str, Any]
    weight: Constant
    bias: Constant
    scales: bool = False

    def scaled(self, scale: Constant = ONE, shift: Constant = ZERO) -> "Kernel":
        """Scale [n] times the result, plus shift [n]."""
        return replace(
            self,
            weight=lambda: self.weight() * scale().reshape(-1, 1, 1, 1),
            bias=lambda: self.bias() * scale() + shift(),
        )

    def added(self, other: "Kernel") -> "Kernel | None":
        """The sum of both, if they go over the same value in the same way, and one of the kernels
        lies within the other.
        """
        pair = sorted((self, other), key=lambda one: (one.scales, -one.shape[2], -one.shape[3]))
        large, small = pair
        same = ("strides",) if small.scales else ("strides", "dilations", "group")
        place = small.place(large)
        alike = all(large.attributes[key] == small.attributes[key] for key in same)
        if large.x != small.x or not alike or place is None:
            return None
        return replace(
            large,
            weight=lambda: large.weight() + small.spread(large.shape, place),
            bias=lambda: large.bias() + small.bias(),
        )

    def place(self, large: "Kernel") -> tuple[int, int] | None:
        """The row and column of a larger kernel with which this one begins."""
        starts = []
        for i in range(2):
            pads = large.attributes["pads"][i] - self.attributes["pads"][i]
            start, rest = divmod(pads, large.attributes["dilations"][i])
            if rest or not 0 <= start <= large.shape[2 + i] - self.shape[2 + i]:
                return None
            starts.append(start)
        return starts[0], starts[1]

    def spread(self, shape: tuple[int, ...], place: tuple[int, int]) -> Array:
        """The weight in a larger shape, with zeros around it."""
        weight = self.weight()
        larger = np.zeros(shape)
        top, left = place
        part = larger[:, :, top : top + weight.shape[2], left : left + weight.shape[3]]
        if self.scales:
            channels = np.arange(shape[0])
            part[channels, channels % shape[1]] = weight[:, 0]
        else:
            part[:] = weight
        return larger


def merged(traced: TracedGraph) -> TracedGraph:
    """The same graph with fewer nodes; values that remain keep their names."""
    kernels = Kernels(traced).found
    shapes: dict[str, tuple[int, ...]] = {}
    constants: dict[str, Constant] = {}
    needed = {traced.result}
    nodes = []
    for node in reversed(traced.nodes):
        name = node.output[0]
        if needed.isdisjoint(node.output):
            continue
        kernel = kernels.get(name)
        if kernel is not None and not kernel.scales and node.op_type != "Conv":
            weight, bias = f"{name}.weight", f"{name}.bias"
            shapes |= {weight: kernel.shape, bias: kernel.shape[:1]}
            constants[weight] = partial(_filled, kernel.weight, shapes[weight])
            constants[bias] = partial(_filled, kernel.bias, shapes[bias])
            node = helper.make_node("Conv", [kernel.x, weight, bias], [name], **kernel.attributes)
        needed |= set(node.input)
        nodes.append(node)
    return traced.changed(nodes[::-1], shapes, constants)


class Kernels:
    """`found`: the kernels of all values that have one, by name."""

    def __init__(self, traced: TracedGraph) -> None:
        self._traced = traced
        self._uses = Counter(name for node in traced.nodes for name in node.input)
        self._uses[traced.result] += 1
        self.found: dict[str, Kernel] = {}
        for node in traced.nodes:
            if (kernel := self._kernel(node)) is not None:
                self.found[node.output[0]] = kernel

    def _kernel(self, node: onnx.NodeProto) -> Kernel | None:
        name = node.output[0]
        shape = self._traced.shapes.get(name, ())
        if len(shape) != 4 or self._traced.is_constant(name):
            return None
        if node.op_type == "Conv":
            return self._convolution(node)
        if node.op_type == "BatchNormalization":
            return self._normalised(node)
        if node.op_type not in ("Add", "Mul", "Sub"):
            return None
        x, other = node.input
        if node.op_type != "Sub" and self._traced.is_constant(x):
            x, other = other, x
        if self._traced.shapes[x] != shape:
            return None
        sign = -1 if node.op_type == "Sub" else 1
        if (vector := self._vector(other, shape[1])) is not None:
            kernel = next(self._kernels(x))
            if node.op_type == "Mul":
                return kernel.scaled(vector)
            return kernel.scaled(shift=lambda: sign * vector())
        if node.op_type == "Mul" or self._traced.shapes[other] != shape:
            return None
        sums = (
            first.added(second.scaled(partial(np.array, sign)))
            for first in self._kernels(x)
            for second in self._kernels(other)
        )
        return next(filter(None, sums), None)

    def _kernels(self, name: str) -> Iterator[Kernel]:
        """A value as a convolution: of another one, if nothing else sees it, and of itself."""
        if name in self.found and self._uses[name] == 1:
            yield self.found[name]
        shape = (self._traced.shapes[name][1], 1, 1, 1)
        yield Kernel(name, shape, DEFAULTS, lambda: np.ones(shape), ZERO, scales=True)

    def _convolution(self, node: onnx.NodeProto) -> Kernel | None:
        constant = self._traced.constant
        x, weight, *bias = node.input
        attributes = DEFAULTS | options(node)
        known = all(map(self._traced.is_constant, (weight, *bias)))
        if not known or attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
            return None
        shape = self._traced.shapes[weight]
        vector = partial(constant, bias[0]) if bias else ZERO
        return Kernel(x, shape, attributes, partial(constant, weight), vector)

    def _normalised(self, node: onnx.NodeProto) -> Kernel | None:
        constant = self._traced.constant
        x, weight, bias, mean, variance = node.input
        epsilon = options(node).get("epsilon", 1e-5)

        def scale() -> Array:
            deviation = np.sqrt(constant(variance).astype(np.float64) + epsilon)
            return np.asarray(constant(weight) / deviation)

        return next(self._kernels(x)).scaled(
            scale, lambda: constant(bias) - constant(mean) * scale()
        )

    def _vector(self, name: str, channels: int) -> Constant | None:
        """A constant number, or one for each channel of [1, n, h, w]."""
        shape = self._traced.shapes.get(name, ())
        padded = (1,) * (4 - len(shape)) + shape
        if self._traced.is_constant(name) and padded in ((1, 1, 1, 1), (1, channels, 1, 1)):
            return lambda: self._traced.constant(name).reshape(-1)
        return None


def patch_rows(
    graph: Graph, traced: TracedGraph, node: onnx.NodeProto, scale: str, shift: str
) -> str:
    """The rows [r, n] of a convolution of pixels, as a product of the bytes themselves."""
    constant = traced.constant
    kernel = constant(node.input[1]).transpose(2, 3, 1, 0)
    high, wide, colours, channels = kernel.shape
    weight = (kernel * constant(scale).reshape(-1, 1)).reshape(-1, channels)
    bias = (kernel * constant(shift).reshape(-1, 1)).sum((0, 1, 2))
    if len(node.input) > 2 and node.input[2]:
        bias = bias + constant(node.input[2])
    _, _, rows, columns = traced.shapes[node.output[0]]
    x = traced.entry
    if (rows * high, columns * wide) != traced.shapes[x][1:3]:
        ends = graph.constant(np.array([rows * high, columns * wide]))
        x = graph.op(
            "Slice", x, graph.constant(np.array([0, 0])), ends, graph.constant(np.array([1, 2]))
        )
    x = graph.op("Reshape", x, graph.constant(np.array([-1, rows, high, columns, wide * colours])))
    x = graph.op("Transpose", x, perm=[0, 1, 3, 2, 4])
    x = graph.op("Reshape", x, graph.constant(np.array([-1, len(weight)])))
    x = graph.bytes_linear(x, weight.astype(np.float32))
    return str(graph.op("Add", x, graph.constant(bias.astype(np.float32))))


def _filled(constant: Constant, shape: tuple[int, ...]) -> Array:
    return np.broadcast_to(constant(), shape).astype(np.float32)
