"""Turns a traced tower's residual stream by an orthogonal matrix, so that what is large in single
channels is spread over all of them (QuaRot, arXiv 2404.00456, here for LayerNorm).

The matrix keeps the vector of ones, and so each row's mean and deviation: LayerNorm gives the
turned row, and its own weight and bias go into the products behind it. Each sum has its order, so
that numpy's kernels and threads change no byte.
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import onnx

from export.graphs.changes import LINEAR, ChangedGraph, Doubles, Turn, Values
from export.graphs.products import options
from export.graphs.skeleton import TracedGraph

Change = Callable[[], None]
# Fewer norms don't make a residual stream.
MIN_NORMS = 4


class NotRotatableError(Exception):
    """Why a tower's residual stream can't be turned."""


def rotated(traced: TracedGraph) -> TracedGraph:
    """The same tower with its residual streams turned. Raises NotRotatableError."""
    graph = ChangedGraph(traced)
    reasons: dict[int, str] = {}
    seen: set[str] = set()
    for node in list(graph.nodes):
        if node.op_type == "LayerNormalization" and node.input[0] not in seen:
            stream = Stream(graph, node.input[0])
            seen |= stream.axes.keys()
            if len(stream.norms) >= MIN_NORMS:
                reasons[len(stream.norms)] = stream.turn()
    if "" not in reasons.values():
        most = max(reasons, default=0)
        raise NotRotatableError(reasons.get(most, "no residual stream is read by norms alone"))
    return traced.changed(graph.nodes, graph.shapes, graph.constants)


class Stream:
    """The values that are sums of one another, or the same values moved, around one that a norm
    takes.

    `axes`: where each has its channels; `norms` and `products` that read them; `reason` why they
    can't be turned, or "".
    """

    def __init__(self, graph: ChangedGraph, start: str) -> None:
        self._graph = graph
        self.width = graph.shapes[start][-1]
        self.axes: dict[str, int] = {}
        self.norms: list[onnx.NodeProto] = []
        self.products: list[onnx.NodeProto] = []
        self.reason = ""
        waiting = [(start, len(graph.shapes[start]) - 1)]
        while waiting:
            name, axis = waiting.pop()
            if name in self.axes or graph.is_constant(name):
                continue
            self.axes[name] = axis
            if axis < 0 or graph.shapes[name][axis] != self.width:
                self.reason = "its residual stream is a sum of other shapes"
                continue
            waiting += self._inputs(name).items()
            waiting += self._outputs(name)

    def _inputs(self, name: str) -> dict[str, int]:
        node = self._graph.maker.get(name)
        moves = node is not None and (node.op_type == "Add" or node.op_type in LINEAR)
        return self._graph.before(node, self.axes[name]) if node is not None and moves else {}

    def _outputs(self, name: str) -> Iterator[tuple[str, int]]:
        graph = self._graph
        axis = self.axes[name]
        rank = len(graph.shapes[name])
        if name == graph.traced.result:
            self.reason = "its residual stream is the result"
        for user in graph.users.get(name, []):
            after = None
            if user.op_type == "Add":
                after = axis - rank + len(graph.shapes[user.output[0]])
            elif user.op_type in LINEAR:
                after = graph.behind(user, name, axis)
            if after is not None:
                yield user.output[0], after
            elif self._normalises(user, name, axis):
                self.norms.append(user)
            elif graph.product(user, axis) is not None:
                self.products.append(user)
            else:
                self.reason = f"its residual stream is read by {user.op_type}"

    def _normalises(self, node: onnx.NodeProto, name: str, axis: int) -> bool:
        last = self._last(name)
        return (
            node.op_type == "LayerNormalization"
            and axis == last == options(node).get("axis", -1) % (last + 1)
            and len(node.input) == 3
        )

    def turn(self) -> str:
        """Changes the graph. Returns why it can't, or ""."""
        if self.reason:
            return self.reason
        graph = self._graph
        turn = Turn(self.width)
        changes: list[Change] = []
        added: list[str] = []
        for name, axis in self.axes.items():
            written = self._written(name, axis, turn, own=True)
            if written is None:
                added.append(name)
                # The matrix is symmetric: back is there.
                written = [partial(graph.taken_back, name, turn)]
            changes += written
        if len(added) > 1 or any(self.axes[name] != self._last(name) for name in added):
            return "its residual stream is written by other nodes than products"
        changes += [partial(graph.read, node, turn) for node in self.products]
        added.clear()
        for node in self.norms:
            result = node.output[0]
            weight, shift = (partial(graph.constant, part) for part in node.input[1:3])
            back = Turn(self.width, weight)
            read = self._restored(result, self._last(result), back, shift)
            if read is None:
                added.append(result)
                read = [partial(graph.taken_back, result, back, shift)]
            changes += [*read, partial(graph.fill, node, 1, 1.0), partial(graph.fill, node, 2, 0.0)]
        if len(added) > 1:
            return "norms of its residual stream are read by other nodes than products"
        for change in changes:
            change()
        return ""

    def _last(self, name: str) -> int:
        return len(self._graph.shapes[name]) - 1

    def _written(
        self, name: str, axis: int, turn: Turn, *, own: bool = False
    ) -> list[Change] | None:
        """What turns a value along its axis by changes of constants, if they can. `own`: the
        values of the stream that it is made from are turned, too.
        """
        graph = self._graph
        node = graph.maker.get(name)
        if node is None or (not own and (name in self.axes or len(graph.users[name]) > 1)):
            return None
        rank = len(graph.shapes[name])
        changes: list[Change] = []
        places: dict[int, tuple[int, Turn]] = {}
        inner: dict[str, tuple[int, Turn]] = {}
        if (along := graph.product(node)) is not None and axis == rank - 1:
            places = {1: (1 - along, turn), 2: (0, turn)}
        elif node.op_type == "Conv" and axis == 1 and options(node).get("group", 1) == 1:
            places = {1: (0, turn), 2: (0, turn)}
        elif node.op_type == "Mul" and any(map(graph.is_constant, node.input)):
            x, scale = sorted(node.input, key=graph.is_constant)
            vector = graph.shapes[scale]
            if np.prod(vector) != (vector[axis - rank] if len(vector) >= rank - axis else 1):
                return None
            vector_of = partial(graph.constant, scale)
            scaled = Turn(self.width, partial(_product, vector_of, turn.scale))
            inner[x] = (axis - rank + len(graph.shapes[x]), scaled)
            changes.append(partial(graph.fill, node, list(node.input).index(scale), 1.0))
        elif node.op_type == "Add" or node.op_type in LINEAR:
            inner = {other: (place, turn) for other, place in graph.before(node, axis).items()}
            if not inner:
                return None
        else:
            return None
        for i, other in enumerate(node.input):
            if i in places and other and graph.is_constant(other):
                changes.append(partial(graph.turn, node, i, *places[i]))
            elif i in places:
                return None
            elif other in inner and graph.is_constant(other):
                changes.append(partial(graph.turn, node, i, *inner[other]))
            elif other in inner and not (own and other in self.axes):
                before = self._written(other, *inner[other])
                if before is None:
                    return None
                changes += before
        return changes

    def _restored(self, name: str, axis: int, back: Turn, shift: Values) -> list[Change] | None:
        """What takes a norm's turned row back in the products behind it, if only these read it."""
        graph = self._graph
        changes: list[Change] = []
        for user in graph.users.get(name, []):
            if graph.product(user, axis) is not None and user.input[0] == name:
                changes.append(partial(graph.read, user, back, shift))
                continue
            moves = user.op_type in LINEAR and user.op_type != "Concat"
            after = graph.behind(user, name, axis) if moves else None
            read = None if after is None else self._restored(user.output[0], after, back, shift)
            if read is None:
                return None
            changes += read
        return changes if changes and name != graph.traced.result else None


def _product(vector: Values, other: Values | None) -> Doubles:
    result = vector().reshape(-1)
    return result if other is None else result * other().reshape(-1)
