"""Traced graphs without their weights ("skeletons"), and the checkpoints that fill them.

`make data NAME=skeletons` traces them through open_clip, in fp32 and with one image; weights have a
checkpoint's own names. What no checkpoint holds, such as rotary tables, lies inside.
"""

import gzip
import tempfile
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from export.graphs.model_file import write_model
from export.graphs.precisions import Floats

# The weights of a skeleton that its tag's mean and standard deviation give.
PIXELS = ("scale", "shift")
FOLDER = Path(__file__).with_name("skeletons")
Array = NDArray[Any]


def read(name: str) -> onnx.ModelProto:
    return onnx.load_from_string(gzip.decompress((FOLDER / f"{name}.onnx.gz").read_bytes()))


def weight_shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """The weights that a checkpoint has to hold, by their names."""
    return {
        weight.name: tuple(weight.dims)
        for weight in model.graph.initializer
        if not weight.HasField("raw_data") and weight.name not in PIXELS
    }


def value_shapes(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    """Of all values that the graph tells, weights and constants included."""
    return {
        value.name: tuple(size.dim_value for size in value.type.tensor_type.shape.dim)
        for value in (*graph.input, *graph.value_info, *graph.output)
    } | {array.name: tuple(array.dims) for array in graph.initializer}


class TracedGraph:
    """A skeleton and its weights, each of which is read when it is asked for.

    `nodes` in the order in which they run; `shapes` of all values; `constant` for those that don't
    depend on the input.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        weights: Mapping[str, Floats],
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        self._model = model
        deviation = np.array(std, np.float32)
        shift = -np.array(mean, np.float32) / deviation
        pixels: Mapping[str, Floats] = {
            "scale": (1 / (255 * deviation)).astype(np.float32),
            "shift": shift,
        }
        graph = model.graph
        self.entry = graph.input[0].name
        self.result = graph.output[0].name
        self.nodes = list(graph.node)
        self.shapes = value_shapes(graph)
        self._constants: dict[str, Callable[[], Array]] = {}
        for array in graph.initializer:
            if array.HasField("raw_data"):
                self._constants[array.name] = partial(numpy_helper.to_array, array)
            else:
                source = pixels if array.name in PIXELS else weights
                self._constants[array.name] = partial(_weight, source, array)
        for node in self.nodes:
            if all(name in self._constants for name in node.input if name):
                for i, name in enumerate(node.output):
                    self._constants[name] = partial(self._evaluated, node, i)

    def is_constant(self, name: str) -> bool:
        return name in self._constants

    def constant(self, name: str) -> Array:
        return self._constants[name]()

    def changed(
        self,
        nodes: list[onnx.NodeProto],
        shapes: Mapping[str, tuple[int, ...]],
        constants: Mapping[str, Callable[[], Array]],
    ) -> "TracedGraph":
        """The same graph with other nodes, and more constants. `run` stays as it is."""
        graph = copy(self)
        graph.nodes = nodes
        graph.shapes = {**self.shapes, **shapes}
        graph._constants = {**self._constants, **constants}
        return graph

    def run(self, pixels: NDArray[np.uint8]) -> Floats:
        """Embeddings [n, d] of squares uint8 [n, S, S, 3], by the graph as it was traced."""
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        names = [weight.name for weight in model.graph.initializer]
        del model.graph.initializer[:]
        weights = (numpy_helper.from_array(self.constant(name), name) for name in names)
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "traced.onnx"
            write_model(model, weights, path)
            session = onnxruntime.InferenceSession(path, options)
            rows = [session.run(None, {self.entry: square[None]})[0] for square in pixels]
        return np.concatenate(rows)

    def _evaluated(self, node: onnx.NodeProto, output: int) -> Array:
        inputs = [self.constant(name) if name else None for name in node.input]
        return evaluate(node, inputs)[output]


def _weight(weights: Mapping[str, Floats], array: onnx.TensorProto) -> Floats:
    return weights[array.name].reshape(array.dims).astype(np.float32, copy=False)


def evaluate(node: onnx.NodeProto, inputs: list[Array | None]) -> list[Array]:
    """What a node makes of arrays, by ONNX's own definition of its operator."""
    feeds = {
        name: value for name, value in zip(node.input, inputs, strict=True) if value is not None
    }
    result: list[Array] = ReferenceEvaluator(node).run(None, feeds)
    return result
