"""One pass over a traced graph, which writes it anew with the products and precisions of Graph.

Between two products a traced graph mostly moves data. If what is moved are whole columns of a
product's rows, they are taken from there, and the moves vanish.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from export.graphs.convolutions import merged, patch_rows
from export.graphs.graph import CONTRIB, Graph
from export.graphs.precisions import LEAST, Floats
from export.graphs.products import MOVES, Product, Products, options
from export.graphs.rows import ROW, apart, picked, repeated, row_by_row, self_attention
from export.graphs.skeleton import TracedGraph

# Moves that leave the order of elements as it is.
VIEWS = {"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"}
Places = NDArray[np.int64]


def write_traced(traced: TracedGraph, graph: Graph, path: Path, dimension: int) -> None:
    """An image tower: uint8 [n, S, S, 3] to the normalised embedding float32 [n, d]."""
    rewriter = Rewriter(picked(merged(traced)), graph)
    result = graph.op("LpNormalization", rewriter.write(), axis=-1)
    sizes = ["n" if rewriter.apart else 1, *traced.shapes[traced.entry][1:]]
    graph.write(path, (traced.entry, TensorProto.UINT8, sizes), result, dimension)


class Rewriter:
    """`apart`: whether every node written so far takes several images."""

    def __init__(self, traced: TracedGraph, graph: Graph) -> None:
        self._traced = traced
        self._graph = graph
        self._found = Products(traced, means=graph.quantised)
        self._shapes = self._found.shapes
        self._rows: dict[str, str] = {}  # values [..., n] as rows [r, n] in the new graph
        self._written = {traced.entry: traced.entry}
        self._parts: dict[tuple[str, int], list[str]] = {}
        self._sizes: dict[tuple[int, ...], str] = {}
        self.apart = True
        self._attention = self_attention(self._found)
        # Products, and what follows from their rows one by one.
        self._flat = {*self._found.products}
        self._flat |= {node.output[0] for node in self._attention.values()}
        for node in self._found.nodes:
            if row_by_row(node, traced) and not self._flat.isdisjoint(node.input):
                self._flat.add(node.output[0])

    def write(self) -> str:
        """Adds the nodes to the new graph. Returns the name of the result."""
        for node in self._found.nodes:
            name = node.output[0]
            if (
                node.op_type not in MOVES
                and name not in self._found.silent
                and not self._found.smoothable(name)
            ):
                self._rows_of(name) if name in self._flat else self._value(name)
        return self._value(self._traced.result)

    def _value(self, name: str) -> str:
        """The name in the new graph."""
        if not name or name in self._written:
            return self._written[name] if name else ""
        node = self._found.maker.get(name)
        if self._traced.is_constant(name):
            new = self._graph.constant(self._traced.constant(name))
        elif name in self._found.patches:
            new = patch_rows(self._graph, self._traced, *self._found.patches[name])
        elif name in self._flat:
            new = self._reshaped(self._rows_of(name), self._shapes[name])
        elif name in self._found.sigmoids:
            x, slope = self._found.sigmoids[name]
            new = str(self._graph.op("QuickGelu", self._value(x), domain=CONTRIB, alpha=slope))
        else:
            assert node is not None
            moves = node.op_type in MOVES or node.op_type == "Conv"
            new = (self._moved(name) if moves else "") or self._copied(node, name)
        self._written[name] = new
        return new

    def _moved(self, name: str) -> str:
        """A view without the moves that lead to it, or nothing."""
        base, places = self._found.view(name)
        if base == name:
            return ""
        new = self._taken(base, places)
        if not new and places.ndim == 4:
            # Heads lie before rows.
            new = self._taken(base, places.swapaxes(1, 2))
            new = new and self._graph.op("Transpose", new, perm=[0, 2, 1, 3])
        return new

    def _taken(self, base: str, places: Places) -> str:
        """Whole columns of a value, or nothing."""
        if np.array_equal(places.ravel(), np.arange(np.prod(self._shapes[base], dtype=int))):
            return self._reshaped(self._value(base), places.shape)
        columns = self._found.columns(base, places) if base in self._found.products else None
        if columns is None:
            return ""
        width = self._shapes[base][-1]
        size = len(columns)
        first = int(columns[0])
        count, rest = divmod(width, size)
        if rest or first % size or not np.array_equal(columns, first + np.arange(size)):
            return ""
        if (base, size) not in self._parts:
            parts: dict[str, Any] = {"outputs": count, "num_outputs": count, "axis": 1}
            self._parts[base, size] = self._graph.op("Split", self._rows_of(base), **parts)
        return self._reshaped(self._parts[base, size][first // size], places.shape)

    def _copied(self, node: onnx.NodeProto, name: str) -> str:
        if node.op_type == "CastLike":
            return self._value(node.input[0])
        if node.op_type in VIEWS:
            return self._reshaped(self._value(node.input[0]), self._shapes[name])
        self.apart &= apart(node, self._traced)
        inputs = [self._value(other) for other in node.input]
        if node.op_type in ("Concat", "MultiHeadAttention"):
            inputs = repeated(self._graph, self._traced, node, inputs)
        new = self._graph.op(
            node.op_type, *inputs, outputs=len(node.output), domain=node.domain, **options(node)
        )
        if len(node.output) > 1:
            self._written |= zip(node.output, new, strict=True)
        return self._written.get(name) or str(new)

    def _reshaped(self, x: str, shape: tuple[int, ...]) -> str:
        if shape[1:] not in self._sizes:
            self._sizes[shape[1:]] = self._graph.constant(np.array([-1, *shape[1:]]))
        return str(self._graph.op("Reshape", x, self._sizes[shape[1:]]))

    def _rows_of(self, name: str) -> str:
        """A value [..., n] as rows [r, n]."""
        if name not in self._rows:
            node = self._found.maker.get(name)
            if name in self._found.products:
                self._multiply(self._found.products[name])
            elif name not in self._flat:
                x = self._value(name)
                flat = len(self._shapes[name]) == 2
                self._rows[name] = x if flat else self._reshaped(x, (0, self._shapes[name][-1]))
            elif name in self._found.sigmoids:
                x, slope = self._found.sigmoids[name]
                x = self._rows_of(x)
                self._rows[name] = self._graph.op("QuickGelu", x, domain=CONTRIB, alpha=slope)
            else:
                assert node is not None
                rows = [
                    self._value(x) if self._traced.is_constant(x) else self._rows_of(x)
                    for x in node.input
                ]
                self._rows[name] = self._graph.op(node.op_type, *rows, **_of_rows(node))
        return self._rows[name]

    def _multiply(self, product: Product) -> None:
        """Writes the product; those that multiply the same value are one."""
        group = self._found.groups[product.x]
        first = group[0]
        weights, biases = zip(*map(self._weights, group), strict=True)
        weight = np.concatenate(weights, 1)
        bias = np.concatenate(biases)
        if self._found.smoothable(first.x):
            smoothing = self._graph.smoothing(first.result, weight)
            weight *= smoothing[:, None]
            x = self._norm(first.x, smoothing)
        else:
            x = self._rows_of(first.x)
        if attention := self._attention.get(first.result):
            shape = self._graph.constant(np.array([-1, *self._shapes[attention.output[0]][1:]]))
            heads = options(attention)["num_heads"]
            attended = self._graph.attention(
                x, weight, bias, first.result, heads, shape, causal=False
            )
            # Nothing else sees the product.
            self._rows |= {first.result: attended, attention.output[0]: attended}
            return
        rows = self._linear(x, weight, bias, first)
        if len(group) == 1:
            self._rows[first.result] = rows
        else:
            sizes = self._graph.constant(np.array([len(part) for part in biases]))
            parts = self._graph.op("Split", rows, sizes, outputs=len(group), axis=1)
            self._rows |= {each.result: part for each, part in zip(group, parts, strict=True)}

    def _linear(self, x: str, weight: Floats, bias: Floats, product: Product) -> str:
        one = np.prod(self._shapes[product.x][:-1]) == 1 and not product.x.endswith(ROW)
        if self._graph.quantised and one:
            # Behind the pooling an error is the embedding's own, and one row costs little.
            whole = self._graph.op("MatMul", x, self._graph.constant(weight))
            return str(self._graph.op("Add", whole, self._graph.constant(bias)))
        least = self._least(product.x)
        return self._graph.linear(x, weight, bias, product.result, least=least)

    def _least(self, name: str) -> float | None:
        """The least that an activation can be; None for other values."""
        if name in self._found.sigmoids:
            return LEAST["quick_gelu"] / self._found.sigmoids[name][1]
        node = self._found.maker.get(name)
        if node is None or node.op_type not in ("Gelu", "Relu"):
            return None
        tanh = options(node).get("approximate") == b"tanh"
        return LEAST["tanh_gelu" if tanh else node.op_type.lower()]

    def _weights(self, product: Product) -> tuple[Floats, Floats]:
        """Weight [k, n] and bias [n], with scales and smoothing inside."""
        weight = np.array(self._traced.constant(product.weight), np.float32)
        weight = weight.T if product.transposed else weight
        bias = np.zeros(weight.shape[1], np.float32)
        if product.bias:
            bias = bias + self._traced.constant(product.bias)
        if product.scale:
            scale = self._traced.constant(product.scale)
            weight = weight * scale
            bias = bias * scale
        weight = weight * product.gain
        bias = bias * product.gain
        if product.smoothing is not None:
            weight = weight * product.smoothing[:, None]
        if product.behind:
            other, columns = product.behind
            other.smoothing = self._graph.smoothing(other.result, self._weights(other)[0])
            weight = weight.copy()
            weight[:, columns] /= other.smoothing
            bias[columns] /= other.smoothing
        return weight, bias

    def _norm(self, name: str, smoothing: Floats) -> str:
        node = self._found.maker[name]
        parts = [
            self._graph.constant((self._traced.constant(part) / smoothing).astype(np.float32))
            for part in node.input[1:]
        ]
        x = self._rows_of(node.input[0])
        return str(self._graph.op(node.op_type, x, *parts, **_of_rows(node)))


def _of_rows(node: onnx.NodeProto) -> dict[str, Any]:
    """The attributes of a node that works along the last axis, or along none."""
    attributes = options(node)
    return attributes | ({"axis": -1} if "axis" in attributes else {})
