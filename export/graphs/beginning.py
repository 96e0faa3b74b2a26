"""What stands before the tokens that a run of a causal text encoder is given: the start token, and
tokens that several texts begin with.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, ValueInfoProto, helper

from classifier.model.texts import FOUR
from export.graphs.graph import CONTRIB, Graph
from export.graphs.precisions import Floats
from export.judging.forward import ACTIVATIONS
from export.sources.architecture import TextTower


class Beginning:
    """Attention with what stands before. The start token's keys and values are constants, made in
    float64; masked places before them fill FOUR. Layer i's of p more tokens are the inputs
    `past.{2 i}` and `past.{2 i + 1}`, float32 [n, heads, p, width / heads], p a multiple of four.
    Outputs in the same order hold all up to the run's last token.
    """

    def __init__(
        self, graph: Graph, text: TextTower, arrays: Mapping[str, Floats], start: int
    ) -> None:
        self._graph = graph
        self._text = text
        self._arrays = arrays
        # The start token's row of the stream, and what a product gave or takes next.
        self._row: NDArray[Any] = arrays["token_embedding.weight"][start].astype(np.float64)
        self._row = self._row + arrays["positional_embedding"][0]
        self._inner = self._row
        zero, one, two, three = (graph.constant(np.array([i])) for i in range(4))
        self.length = graph.op("Slice", graph.op("Shape", "past.0"), two, three)
        shape = graph.op("Shape", "ids")
        batch = graph.op("Slice", shape, zero, one)
        self._copies = graph.op("Concat", batch, one, one, one, axis=0)
        places = np.ones((1, FOUR + text.context_length), np.int32)
        places[0, : FOUR - 1] = 0
        given = graph.op("Add", self.length, graph.op("Slice", shape, one, two))
        end = graph.op("Add", given, graph.constant(np.array([FOUR])))
        seen = graph.op("Slice", graph.constant(places), zero, end, one)
        self._seen = graph.op("Expand", seen, graph.op("Concat", batch, one, axis=0))

    def enter(self, norm: str, weight: Floats, bias: Floats, activation: str | None = None) -> None:
        """The start token's way to its keys and values, or into a perceptron."""
        x = self._row - self._row.mean()
        x = x / np.sqrt((x * x).mean() + self._text.epsilon)
        x = x * self._arrays[f"{norm}.weight"] + self._arrays[f"{norm}.bias"]
        self._inner = x @ weight + bias
        if activation:
            self._inner = ACTIVATIONS[activation](self._inner)

    def add(self, weight: Floats, bias: Floats) -> None:
        """And back to its stream, from there or from the attention."""
        self._row = self._row + self._inner @ weight + bias

    def attention(
        self, x: str, weight: Floats, bias: Floats, product: str, i: int, shape: str
    ) -> str:
        """As Graph's, in layer i, whose keys and values of the start token were made."""
        heads, width = self._text.heads, self._text.width
        before = []
        for j, row in enumerate(np.split(self._inner, 2), 2 * i):
            block = np.zeros((1, heads, FOUR, width // heads), np.float32)
            block[0, :, -1] = row.reshape(heads, -1)
            self._graph.entries.append(self._info(f"past.{j}"))
            first = self._graph.op("Expand", self._graph.constant(block), self._copies)
            before.append(self._graph.op("Concat", first, f"past.{j}", axis=2))
        self._inner = self._inner[width:]
        x = self._graph.linear(x, weight, bias, product)
        parts = self._graph.op("Split", x, outputs=3, axis=1, num_outputs=3)
        attended, *present = self._graph.op(
            "MultiHeadAttention",
            *(self._graph.op("Reshape", part, shape) for part in parts),
            *("", self._seen, "", *before),
            outputs=3,
            domain=CONTRIB,
            num_heads=heads,
            unidirectional=1,
        )
        self._graph.results += map(self._info, present)
        return str(self._graph.op("Reshape", attended, self._graph.constant(np.array([-1, width]))))

    def _info(self, name: str) -> ValueInfoProto:
        text = self._text
        shape = ["n", text.heads, f"length of {name}", text.width // text.heads]
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
