"""A traced graph in which constants are multiplied and products are added."""

from collections.abc import Callable
from functools import partial

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from export.graphs.products import MOVES, options
from export.graphs.skeleton import Array, TracedGraph, evaluate

Doubles = NDArray[np.float64]
Matrix = Callable[[], Doubles]
# What moves rows or sums them up, and leaves their channels as they are.
LINEAR = MOVES | {"Concat", "ReduceMean"}


def product(a: Doubles, b: Doubles) -> Doubles:
    """a [..., k] @ b [k, n] to 40 bits, the same on all processors and with any number of threads:
    of parts of so few bits that their products add up without rounding, in any order.
    """
    bits = (52 - int(np.ceil(np.log2(len(b))))) // 2
    rows, more_rows = _parts(a, -1, bits)
    columns, more_columns = _parts(b, 0, bits)
    result: Doubles = rows @ columns + (rows @ more_columns + more_rows @ columns)
    return result


def _parts(x: Doubles, axis: int, bits: int) -> tuple[Doubles, Doubles]:
    """Two parts of an array, each with so many bits along the axis."""
    _, exponent = np.frexp(np.abs(x).max(axis, keepdims=True))
    grid = np.ldexp(1.0, exponent - bits)
    high = np.rint(x / grid) * grid
    grid = np.ldexp(grid, -bits)
    return high, np.rint((x - high) / grid) * grid


class ChangedGraph:
    """A traced graph while its nodes and constants change; constants are read when they are asked
    for.
    """

    def __init__(self, traced: TracedGraph) -> None:
        self.traced = traced
        self.nodes: list[onnx.NodeProto] = []
        for node in traced.nodes:
            if not all(map(traced.is_constant, node.output)):
                self.nodes.append(onnx.NodeProto())
                self.nodes[-1].CopyFrom(node)
        self.shapes = dict(traced.shapes)
        self.constants: dict[str, Callable[[], Array]] = {}
        self.maker = {name: node for node in self.nodes for name in node.output}
        self.users: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                self.users.setdefault(name, []).append(node)

    def is_constant(self, name: str) -> bool:
        return name in self.constants or self.traced.is_constant(name)

    def constant(self, name: str) -> Doubles:
        array = self.constants[name]() if name in self.constants else self.traced.constant(name)
        return np.asarray(array, np.float64)

    def new(self, make: Matrix, shape: tuple[int, ...]) -> str:
        name = f"rotated.{len(self.constants)}"
        self.constants[name] = lambda: make().astype(np.float32).reshape(shape)
        self.shapes[name] = shape
        return name

    def product(self, node: onnx.NodeProto, axis: int | None = None) -> int | None:
        """The axis of a product's constant weight that its input goes along, if it is one."""
        if node.op_type not in ("MatMul", "Gemm") or self.is_constant(node.input[0]):
            return None
        if not self.is_constant(node.input[1]) or len(self.shapes[node.input[1]]) != 2:
            return None
        if axis not in (None, len(self.shapes[node.input[0]]) - 1):
            return None
        return 1 if options(node).get("transB") else 0

    def behind(self, node: onnx.NodeProto, name: str, axis: int) -> int | None:
        """Where a node of LINEAR leaves the channels of its input, if it does."""
        shape = self.shapes[name]
        if node.op_type == "Concat":
            return axis if options(node)["axis"] % len(shape) != axis else None
        if name != node.input[0] or not all(map(self.is_constant, filter(None, node.input[1:]))):
            return None
        sizes = [1] * len(shape)
        sizes[axis] = shape[axis]
        channels = np.broadcast_to(np.arange(float(shape[axis])).reshape(sizes), shape)
        others = [self.traced.constant(other) if other else None for other in node.input[1:]]
        moved = evaluate(node, [channels, *others])[0]
        for after, size in enumerate(moved.shape):
            if size == shape[axis] and (np.moveaxis(moved, after, -1) == np.arange(size)).all():
                return after
        return None

    def before(self, node: onnx.NodeProto, axis: int) -> dict[str, int]:
        """The inputs that an Add or a node of LINEAR has its channels from, and where."""
        if node.op_type == "Add":
            rank = len(self.shapes[node.output[0]])
            return {name: axis - rank + len(self.shapes[name]) for name in node.input}
        if node.op_type == "Concat":
            return {
                name: place
                for name in node.input
                if (place := self.behind(node, name, axis)) is not None
            }
        name = node.input[0]
        for place in range(len(self.shapes[name])):
            if self.behind(node, name, place) == axis:
                return {name: place}
        return {}

    def multiply(self, node: onnx.NodeProto, i: int, axis: int, matrix: Matrix) -> None:
        """A node's constant input is multiplied along an axis; a number there stands for all
        channels.
        """
        old = partial(self.constant, node.input[i])
        before = self.shapes[node.input[i]]
        shape = [1] * -min(axis, 0) + list(before)
        axis = max(axis, 0)

        def make() -> Doubles:
            values = old().reshape(shape)
            wide = np.broadcast_to(values, [*shape[:axis], width, *shape[axis + 1 :]])
            return np.moveaxis(product(np.moveaxis(wide, axis, -1), matrix()), -1, axis)

        width = matrix().shape[0] if shape[axis] == 1 else shape[axis]
        node.input[i] = self.new(make, (*shape[:axis], width, *shape[axis + 1 :]))

    def fill(self, node: onnx.NodeProto, i: int, number: float) -> None:
        """A node's constant input is this number everywhere."""
        shape = self.shapes[node.input[i]]
        node.input[i] = self.new(lambda: np.full(shape, number), shape)

    def read(self, node: onnx.NodeProto, back: Matrix, shift: Matrix | None = None) -> None:
        """A product takes rows that `back` [d, d] and the vector `shift` [d] make what it took."""
        along = self.product(node)
        assert along is not None
        weight = partial(self.constant, node.input[1])
        if shift is not None:
            self.add(node, lambda: product(shift(), weight().T if along else weight()))
        self.multiply(node, 1, along, lambda: back().T)

    def add(self, node: onnx.NodeProto, shift: Matrix) -> None:
        """A product's result is moved by a vector [n]: in its bias, if it has one."""
        result = node.output[0]
        users = self.users.get(result, [])
        place = next(
            (
                i
                for i in range(2)
                if len(users) == 1
                and users[0].op_type == "Add"
                and self.is_constant(users[0].input[i])
            ),
            None,
        )
        if node.op_type == "Gemm" and len(node.input) > 2:
            self._added(node, 2, shift)
        elif place is not None:
            self._added(users[0], place, shift)
        else:
            self.insert(result, "Add", self.new(shift, self.shapes[result][-1:]))

    def _added(self, node: onnx.NodeProto, i: int, shift: Matrix) -> None:
        old = partial(self.constant, node.input[i])
        shape = np.broadcast_shapes(self.shapes[node.input[i]], self.shapes[node.output[0]][-1:])
        node.input[i] = self.new(lambda: old() + shift(), shape)

    def insert(self, name: str, kind: str, constant: str) -> None:
        """A value is what a node makes of it and of a constant."""
        node = self.maker[name]
        inner = f"{name}.{kind}.{len(self.nodes)}"
        node.output[list(node.output).index(name)] = inner
        self.shapes[inner] = self.shapes[name]
        self.maker[inner] = node
        self.maker[name] = helper.make_node(kind, [inner, constant], [name])
        self.users[inner] = [self.maker[name]]
        self.nodes.insert(self.nodes.index(node) + 1, self.maker[name])

    def multiplied(self, name: str, matrix: Matrix, shift: Matrix | None = None) -> None:
        """A value [..., d] is multiplied by a matrix [d, d] in a product of its own. In three
        dimensions, as the products that are quantised are of two.
        """
        width = self.shapes[name][-1]
        if shift is not None:
            self.insert(name, "Add", self.new(shift, (width,)))
            name = self.maker[name].input[0]
        self.insert(name, "MatMul", self.new(matrix, (1, width, width)))
