"""What a traced graph multiplies, and how its values move in between.

A value that is only moved is known by a view: the place of each of its elements in the value that
it comes from.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from export.graphs.precisions import Floats
from export.graphs.skeleton import TracedGraph, evaluate

MOVES = {
    "CastLike",
    "Flatten",
    "Gather",
    "Identity",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
}
Places = NDArray[np.int64]


@dataclass(eq=False)
class Product:
    """x [..., k] times a constant weight [k, n], and the bias [n] and scale [n] that follow."""

    x: str
    result: str
    weight: str
    transposed: bool = False
    bias: str = ""
    scale: str = ""
    # The product behind attention whose input is a mean of these columns of the result.
    behind: "tuple[Product, Places] | None" = None
    # What the columns of the product before, whose values it takes, were divided by.
    smoothing: Floats | None = None
    gain: float = 1.0  # what its result is multiplied with


class Products:
    """`products` by their result, and `groups` of those that multiply the same value, by its name.

    `maker` and `users` of a value are nodes. `sigmoids` are x * sigmoid(slope * x): x and the
    slope. `patches` are convolutions that are products. `silent` values vanish in these. `means`:
    whether to look for products whose input can be smoothed in another one.
    """

    def __init__(self, traced: TracedGraph, *, means: bool) -> None:
        self._traced = traced
        self.shapes = dict(traced.shapes)
        self.nodes = [
            node for node in traced.nodes if not all(map(traced.is_constant, node.output))
        ]
        self.maker = {name: node for node in self.nodes for name in node.output}
        self.users: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                self.users.setdefault(name, []).append(node)
        self.silent: set[str] = set()
        self.sigmoids = dict(self._find_sigmoids())
        self.groups: dict[str, list[Product]] = {}
        for product in self._find_products():
            self.groups.setdefault(product.x, []).append(product)
        self.products = {
            product.result: product for group in self.groups.values() for product in group
        }
        self._fold_slopes()
        self.patches = dict(self._find_patches())
        if means:
            self._find_means()

    def _find_sigmoids(self) -> Iterator[tuple[str, tuple[str, float]]]:
        """x * sigmoid(slope * x), by its result: x and the slope."""
        for node in self.nodes:
            if node.op_type != "Mul":
                continue
            for x, gate in (node.input, node.input[::-1]):
                sigmoid = self.maker.get(gate)
                if sigmoid is None or sigmoid.op_type != "Sigmoid" or len(self.users[gate]) > 1:
                    continue
                inside = self.maker.get(sigmoid.input[0])
                if sigmoid.input[0] == x:
                    slope = 1.0
                elif inside is not None and inside.op_type == "Mul" and inside.input[0] == x:
                    slope = float(self._traced.constant(inside.input[1]))
                    self.silent.add(inside.output[0])
                else:
                    continue
                self.silent.add(gate)
                yield node.output[0], (x, slope)

    def _fold_slopes(self) -> None:
        """A slope between two products goes into their weights."""
        for name, (x, slope) in self.sigmoids.items():
            before = self.products.get(x)
            behind = self.groups.get(name, [])
            if slope != 1 and before and len(self.users[name]) == len(behind):
                before.gain = slope
                width = self.shapes[name][-1:]
                for product in behind:
                    product.smoothing = np.full(width, 1 / slope, np.float32)
                self.sigmoids[name] = x, 1.0

    def _find_products(self) -> Iterator[Product]:
        is_constant = self._traced.is_constant
        for node in self.nodes:
            if node.op_type not in ("MatMul", "Gemm") or is_constant(node.input[0]):
                continue
            if not is_constant(node.input[1]) or len(self.shapes[node.input[1]]) != 2:
                continue
            attributes = options(node)
            product = Product(
                node.input[0], node.output[0], node.input[1], bool(attributes.get("transB"))
            )
            if node.op_type == "Gemm":
                assert attributes.get("alpha", 1) == attributes.get("beta", 1) == 1
                product.bias = node.input[2] if len(node.input) > 2 else ""
            for kind, part in (("Add", "bias"), ("Mul", "scale")):
                other = self._vector_behind(product.result, kind)
                if other and not getattr(product, part):
                    self.silent.add(product.result)
                    product.result = self.users[product.result][0].output[0]
                    setattr(product, part, other)
            yield product

    def _vector_behind(self, name: str, kind: str) -> str:
        """The constant [n] that the only user of [..., n] adds or multiplies with."""
        users = self.users.get(name, [])
        if len(users) != 1 or users[0].op_type != kind:
            return ""
        other = next((i for i in users[0].input if i != name), "")
        vector = self.shapes.get(other) == self.shapes[name][-1:]
        return other if vector and self._traced.is_constant(other) else ""

    def _find_patches(self) -> Iterator[tuple[str, tuple[onnx.NodeProto, Any, Any]]]:
        """Convolutions of the pixels with a kernel as wide as its stride are products: by the name
        of their rows [r, n], the convolution, and what pixels are multiplied with and moved by.
        """
        for node in self.nodes:
            if node.op_type != "Conv" or not self._traced.is_constant(node.input[1]):
                continue
            attributes = options(node)
            kernel = self.shapes[node.input[1]]
            if list(kernel[2:]) != attributes.get("strides") or any(attributes.get("pads", [])):
                continue
            chain = [node]
            for kind in ("Add", "Mul", "Cast", "Transpose"):
                before = self.maker.get(chain[-1].input[0])
                if (
                    before is None
                    or before.op_type != kind
                    or len(self.users[before.output[0]]) > 1
                ):
                    break
                chain.append(before)
            if len(chain) < 5 or chain[-1].input[0] != self._traced.entry:
                continue
            self.silent |= {before.output[0] for before in chain}
            rows = f"{node.output[0]}.rows"
            _, channels, height, width = self.shapes[node.output[0]]
            self.shapes[rows] = (height * width, channels)
            yield rows, (node, chain[2].input[1], chain[1].input[1])

    def _find_means(self) -> None:
        """Where attention lies between two products, the input of the second is a mean of columns
        of the first, and can be smoothed there.
        """
        for product in self.products.values():
            base, places = self.view(product.x)
            attention = self.maker.get(base)
            if attention is None or attention.op_type != "MultiHeadAttention":
                continue
            values = attention.input[2]
            width = self.shapes[base][-1]
            before, held = self.view(values)
            columns = self.columns(before, held)
            if (
                before in self.products
                and columns is not None
                and len(self.users[base]) == len(self.users[values]) == 1
                and np.array_equal(places % width, np.broadcast_to(np.arange(width), places.shape))
            ):
                self.products[before].behind = (product, columns)

    def view(self, name: str) -> tuple[str, Places]:
        """The value that this one is moved from, and the place in it of each element."""
        for rows, (node, *_) in self.patches.items():
            if node.output[0] == name:
                _, channels, height, width = self.shapes[name]
                places = np.arange(height * width * channels).reshape(1, height, width, channels)
                return rows, places.transpose(0, 3, 1, 2)
        node = self.maker.get(name)
        shape = self.shapes[name]
        if node is None or node.op_type not in MOVES or name in self.products:
            return name, np.arange(np.prod(shape, dtype=int)).reshape(shape)
        base, places = self.view(node.input[0])
        if node.op_type == "CastLike":
            return base, places
        if not all(self._traced.is_constant(other) for other in node.input[1:] if other):
            return name, np.arange(np.prod(shape, dtype=int)).reshape(shape)
        others = [self._traced.constant(other) if other else None for other in node.input[1:]]
        moved = evaluate(node, [places, *others])
        return base, moved[list(node.output).index(name)]

    def columns(self, base: str, places: Places) -> Places | None:
        """The columns of a base [..., n] that a view holds for all of its rows, in order."""
        width = self.shapes[base][-1]
        rows = np.prod(self.shapes[base][:-1], dtype=int)
        if places.size % rows:
            return None
        table = places.reshape(rows, -1)
        columns: Places = table[0]
        fits = columns.max() < width
        if fits and np.array_equal(table, columns + width * np.arange(rows)[:, None]):
            return columns
        return None

    def smoothable(self, name: str) -> bool:
        """Whether a value is a norm that only products of one group see."""
        node = self.maker.get(name)
        return (
            node is not None
            and node.op_type == "LayerNormalization"
            and options(node).get("axis", -1) in (-1, len(self.shapes[name]) - 1)
            and len(self.users[name]) == len(self.groups.get(name, []))
        )


def options(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
