"""A traced graph in which constants are turned by an orthogonal matrix and products are added."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from export.graphs.products import MOVES, options
from export.graphs.skeleton import Array, TracedGraph, evaluate

Doubles = NDArray[np.float64]
Values = Callable[[], Doubles]
# Rows that are turned at a time, so that they stay in a core's cache.
ROWS = 32
# What moves rows or sums them up, and leaves their channels as they are.
LINEAR = MOVES | {"Concat", "ReduceMean"}


@dataclass(frozen=True)
class Turn:
    """Multiplies rows [..., d] by `scale` [d] or [1], then by M [d, d]: symmetric, orthogonal, with
    the vector of ones kept, and random signs. The columns of a Hadamard matrix, with a mirror in
    what isn't a power of two, keep or change theirs.

    Each sum has its order, so that the result is the same on all processors, and takes d log d.
    """

    width: int
    scale: Values | None = None

    def __call__(self, x: Doubles) -> Doubles:
        if self.scale is not None:
            x = x * self.scale().reshape(-1)
        mirror, signs = _mirror_and_signs(self.width)
        rows = x.reshape(-1, *signs.shape)
        result = np.empty_like(rows)
        for i in range(0, len(rows), ROWS):
            part = _spread(rows[i : i + ROWS], mirror) * signs
            result[i : i + ROWS] = _spread(part, mirror) / len(signs)
        turned: Doubles = result.reshape(x.shape)
        return turned

    def back(self) -> Doubles:
        """The matrix [d, d] that takes turned rows back, then multiplies them by `scale`."""
        matrix: Doubles = self(np.eye(self.width)).T
        return matrix


@cache
def _mirror_and_signs(width: int) -> tuple[Doubles, Doubles]:
    powers = width & -width
    odd = width // powers
    # Takes the first unit vector to the direction of ones; symmetric.
    axis = np.full(odd, 1 / np.sqrt(odd))
    axis[0] -= 1
    mirror = np.eye(odd)
    if odd > 1:
        mirror += np.outer(axis, axis) / axis[0]
    signs = np.random.default_rng(width).choice([-1.0, 1.0], (powers, odd))
    signs[0, 0] = 1
    return mirror, signs


def _spread(x: Doubles, mirror: Doubles) -> Doubles:
    """x [n, p, q] by the Hadamard matrix along p and the mirror [q, q] along q."""
    y = x[..., :1] * mirror[0]
    for i in range(1, len(mirror)):
        y += x[..., i : i + 1] * mirror[i]
    size = 1
    while size < x.shape[1]:
        pairs = y.reshape(len(x), -1, 2, size * len(mirror))
        y = np.empty_like(pairs)
        np.add(pairs[:, :, 0], pairs[:, :, 1], out=y[:, :, 0])
        np.subtract(pairs[:, :, 0], pairs[:, :, 1], out=y[:, :, 1])
        size *= 2
    spread: Doubles = y.reshape(x.shape)
    return spread


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

    def new(self, make: Values, shape: tuple[int, ...]) -> str:
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

    def turn(self, node: onnx.NodeProto, i: int, axis: int, turn: Turn) -> None:
        """A node's constant input is turned along an axis; a number there stands for all
        channels.
        """
        old = partial(self.constant, node.input[i])
        before = self.shapes[node.input[i]]
        shape = [1] * -min(axis, 0) + list(before)
        axis = max(axis, 0)
        turned = (*shape[:axis], turn.width, *shape[axis + 1 :])

        def make() -> Doubles:
            wide = np.broadcast_to(old().reshape(shape), turned)
            return np.moveaxis(turn(np.moveaxis(wide, axis, -1)), -1, axis)

        node.input[i] = self.new(make, turned)

    def fill(self, node: onnx.NodeProto, i: int, number: float) -> None:
        """A node's constant input is this number everywhere."""
        shape = self.shapes[node.input[i]]
        node.input[i] = self.new(lambda: np.full(shape, number), shape)

    def read(self, node: onnx.NodeProto, turn: Turn, shift: Values | None = None) -> None:
        """A product takes turned rows, which `back` and `shift` [d] make what it took."""
        along = self.product(node)
        assert along is not None
        weight = partial(self.constant, node.input[1])
        if shift is not None:

            def moved() -> Doubles:
                rows = np.ascontiguousarray(weight().T if along else weight())
                result: Doubles = (rows * shift().reshape(-1, 1)).sum(0)
                return result

            self.add(node, moved)
        self.turn(node, 1, along, turn)

    def add(self, node: onnx.NodeProto, shift: Values) -> None:
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

    def _added(self, node: onnx.NodeProto, i: int, shift: Values) -> None:
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

    def taken_back(self, name: str, turn: Turn, shift: Values | None = None) -> None:
        """A value [..., d] is taken back in a product of its own. In three dimensions, as the
        products that are quantised are of two.
        """
        width = turn.width
        if shift is not None:
            self.insert(name, "Add", self.new(shift, (width,)))
            name = self.maker[name].input[0]
        self.insert(name, "MatMul", self.new(turn.back, (1, width, width)))
