"""One pass over a traced graph, which writes it anew with the products and precisions of Graph.

Between two products a traced graph mostly moves data. If what is moved are whole columns of a
product's rows, they are taken from there, and the moves vanish.
"""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from export.graphs.convolutions import merged
from export.graphs.graph import CONTRIB, Graph
from export.graphs.precisions import Floats
from export.graphs.products import MOVES, Product, Products, options
from export.graphs.skeleton import TracedGraph

# The least values of activations, rounded down.
LEAST = {"Gelu": -0.17, "QuickGelu": -0.2785, "Relu": 0.0}
Places = NDArray[np.int64]


def write_traced(traced: TracedGraph, graph: Graph, path: Path, dimension: int) -> None:
    """An image tower: uint8 [n, S, S, 3] to the normalised embedding float32 [n, d]."""
    rows = Rewriter(merged(traced), graph).write()
    sizes = ["n", *traced.shapes[traced.entry][1:]]
    result = graph.op("LpNormalization", rows, axis=-1)
    graph.write(path, (traced.entry, TensorProto.UINT8, sizes), result, dimension)


class Rewriter:
    def __init__(self, traced: TracedGraph, graph: Graph) -> None:
        self._traced = traced
        self._graph = graph
        self._found = Products(traced, means=graph.quantised)
        self._shapes = self._found.shapes
        self._rows: dict[str, str] = {}  # products' results [r, n] in the new graph
        self._written = {traced.entry: traced.entry}
        self._parts: dict[tuple[str, int], list[str]] = {}

    def write(self) -> str:
        """Adds the nodes to the new graph. Returns the name of the result."""
        for node in self._found.nodes:
            name = node.output[0]
            if (
                node.op_type not in MOVES
                and name not in self._found.silent
                and not self._found.smoothable(name)
            ):
                self._value(name)
        return self._value(self._traced.result)

    def _value(self, name: str) -> str:
        """The name in the new graph."""
        if not name or name in self._written:
            return self._written[name] if name else ""
        node = self._found.maker.get(name)
        if self._traced.is_constant(name):
            new = self._graph.constant(self._traced.constant(name))
        elif name in self._found.patches:
            new = self._patch(*self._found.patches[name])
        elif name in self._found.products:
            new = self._reshaped(self._product_rows(name), self._shapes[name])
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
        if np.array_equal(places.ravel(), np.arange(np.prod(self._shapes[base], dtype=int))):
            return self._reshaped(self._value(base), places.shape)
        columns = self._found.columns(base, places) if base in self._found.products else None
        if columns is None:
            return ""
        width = self._shapes[base][-1]
        size = len(columns)
        first = int(columns[0])
        if width % size or first % size or not np.array_equal(columns, first + np.arange(size)):
            return ""
        if (base, size) not in self._parts:
            self._parts[base, size] = self._graph.op(
                "Split",
                self._product_rows(base),
                outputs=width // size,
                axis=1,
                num_outputs=width // size,
            )
        return self._reshaped(self._parts[base, size][first // size], places.shape)

    def _copied(self, node: onnx.NodeProto, name: str) -> str:
        if node.op_type == "CastLike":
            return self._value(node.input[0])
        inputs = [self._value(other) for other in node.input]
        new = self._graph.op(
            node.op_type, *inputs, outputs=len(node.output), domain=node.domain, **options(node)
        )
        if len(node.output) > 1:
            self._written |= zip(node.output, new, strict=True)
        return self._written.get(name) or str(new)

    def _reshaped(self, x: str, shape: tuple[int, ...]) -> str:
        return str(self._graph.op("Reshape", x, self._graph.constant(np.array([-1, *shape[1:]]))))

    def _product_rows(self, name: str) -> str:
        """The result [r, n] of a product; those that multiply the same value are one."""
        if name in self._rows:
            return self._rows[name]
        group = self._found.groups[self._found.products[name].x]
        first = group[0]
        weights, biases = zip(*map(self._weights, group), strict=True)
        weight = np.concatenate(weights, 1)
        bias = np.concatenate(biases)
        if self._found.smoothable(first.x):
            smoothing = self._graph.smoothing(first.result, weight)
            weight *= smoothing[:, None]
            x = self._norm(first.x, smoothing)
        else:
            x = self._value(first.x)
        if len(self._shapes[first.x]) != 2:
            x = self._reshaped(x, (0, len(weight)))
        rows = self._linear(x, weight, bias, first)
        if len(group) == 1:
            self._rows[name] = rows
        else:
            sizes = self._graph.constant(np.array([len(part) for part in biases]))
            parts = self._graph.op("Split", rows, sizes, outputs=len(group), axis=1)
            self._rows |= {product.result: part for product, part in zip(group, parts, strict=True)}
        return self._rows[name]

    def _linear(self, x: str, weight: Floats, bias: Floats, product: Product) -> str:
        if self._graph.quantised and np.prod(self._shapes[product.x][:-1]) == 1:
            # Behind the pooling an error is the embedding's own, and one row costs little.
            whole = self._graph.op("MatMul", x, self._graph.constant(weight))
            return str(self._graph.op("Add", whole, self._graph.constant(bias)))
        before = self._found.maker.get(product.x)
        activation = "QuickGelu" if product.x in self._found.sigmoids else before and before.op_type
        slope = self._found.sigmoids.get(product.x, ("", 1.0))[1]
        least = LEAST.get(activation or "")
        return self._graph.linear(
            x, weight, bias, product.result, least=None if least is None else least / slope
        )

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
        x = self._value(node.input[0])
        return str(self._graph.op(node.op_type, x, *parts, **options(node)))

    def _patch(self, node: onnx.NodeProto, scale: str, shift: str) -> str:
        """The rows [r, n] of a convolution of pixels, as a product of the bytes themselves."""
        constant = self._traced.constant
        graph = self._graph
        kernel = constant(node.input[1]).transpose(2, 3, 1, 0)
        high, wide, colours, channels = kernel.shape
        weight = (kernel * constant(scale).reshape(-1, 1)).reshape(-1, channels)
        bias = (kernel * constant(shift).reshape(-1, 1)).sum((0, 1, 2))
        if len(node.input) > 2 and node.input[2]:
            bias = bias + constant(node.input[2])
        _, _, rows, columns = self._shapes[node.output[0]]
        x = self._traced.entry
        if (rows * high, columns * wide) != self._shapes[x][1:3]:
            ends = graph.constant(np.array([rows * high, columns * wide]))
            x = graph.op(
                "Slice", x, graph.constant(np.array([0, 0])), ends, graph.constant(np.array([1, 2]))
            )
        x = graph.op(
            "Reshape", x, graph.constant(np.array([-1, rows, high, columns, wide * colours]))
        )
        x = graph.op("Transpose", x, perm=[0, 1, 3, 2, 4])
        x = graph.op("Reshape", x, graph.constant(np.array([-1, len(weight)])))
        x = graph.bytes_linear(x, weight.astype(np.float32))
        return str(graph.op("Add", x, graph.constant(bias.astype(np.float32))))
