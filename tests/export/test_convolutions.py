"""Convolutions that become one give what the graph as it was traced gives."""

from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from export.graphs.convolutions import merged
from export.graphs.graph import Graph
from export.graphs.precisions import STEPS
from export.graphs.rewrite import write_traced
from export.graphs.skeleton import TracedGraph

SIDE = 9
CHANNELS = 6


class Tower:
    """A traced graph in the making, whose values are [1, 6, 9, 9] or half; `x` is the first."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, NDArray[np.float32]] = {}
        x = self.add("Cast", self.add("Transpose", "pixels", perm=[0, 3, 1, 2]), to=1)
        self.x = self.add("Sigmoid", x)

    def add(self, kind: str, *inputs: str, **attributes: object) -> str:
        name = f"{kind}.{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def weight(self, *shape: int, least: float = -1) -> str:
        name = f"weight.{len(self.weights)}"
        self.weights[name] = self.rng.uniform(least, 1, shape).astype(np.float32)
        return name

    def convolution(
        self,
        x: str,
        sizes: tuple[int, int] = (3, 3),
        group: int = 1,
        dilation: int = 1,
        moved: int = 0,
        stride: int = 1,
    ) -> str:
        """`moved`: how far its middle lies off the result's place."""
        reach = [dilation * (size - 1) for size in sizes]
        before = [max(0, pad // 2 - moved) for pad in reach]
        inputs = [x, self.weight(CHANNELS, CHANNELS // group, *sizes)]
        if self.rng.random() < 0.5:
            inputs.append(self.weight(CHANNELS))
        return self.add(
            "Conv",
            *inputs,
            pads=[*before, *(pad - first for pad, first in zip(reach, before, strict=True))],
            group=group,
            dilations=[dilation] * 2,
            strides=[stride] * 2,
        )

    def norm(self, x: str) -> str:
        vectors = [self.weight(CHANNELS, least=least) for least in (-1, -1, -1, 0.5)]
        return self.add("BatchNormalization", x, *vectors, epsilon=1e-3)

    def scaled(self, x: str) -> str:
        return self.add("Mul", x, self.weight(CHANNELS, 1, 1))

    def traced(self, result: str) -> TracedGraph:
        flat = self.add("Flatten", result)
        sizes = [1, SIDE, SIDE, CHANNELS]
        graph = helper.make_graph(
            self.nodes,
            "tower",
            [helper.make_tensor_value_info("pixels", TensorProto.UINT8, sizes)],
            [helper.make_tensor_value_info(flat, TensorProto.FLOAT, None)],
            [
                TensorProto(name=name, data_type=TensorProto.FLOAT, dims=value.shape)
                for name, value in self.weights.items()
            ],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
        model.ir_version = 10
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        return TracedGraph(model, self.weights, [0.5] * 3, [0.5] * 3)


def kinds(traced: TracedGraph) -> Counter[str]:
    return Counter(node.op_type for node in merged(traced).nodes)


def assert_equal_to_the_traced_graph(traced: TracedGraph, folder: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 4, (2, SIDE, SIDE, CHANNELS), dtype=np.uint8)
    expected = traced.run(pixels)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    path = folder / "image.onnx"
    write_traced(traced, Graph(STEPS["fp32"]), path, expected.shape[1])
    written = onnxruntime.InferenceSession(path).run(None, {"pixels": pixels[:1]})[0]
    np.testing.assert_allclose(written, expected[:1], atol=2e-6)


@pytest.mark.parametrize("seed", range(60))
def test_any_graph_gives_the_same_as_it_was_traced(seed: int, tmp_path: Path) -> None:
    tower = Tower(seed)
    values = [tower.x]
    for _ in range(12):
        # Mostly the last values, so that some are seen once and some twice.
        x, y = (values[-min(int(i), len(values))] for i in tower.rng.integers(1, 5, 2))
        kind = tower.rng.choice(
            ["Conv", "Conv", "Conv", "norm", "Mul", "Add", "Add", "Add", "Sub", "constant", "Relu"]
        )
        match kind:
            case "Conv":
                choices = ((1, 2, 3, 5), (1, 6), (1, 2), (0, 0, 0, 1))
                size, group, dilation, moved = (int(tower.rng.choice(some)) for some in choices)
                values.append(tower.convolution(x, (size, size), group, dilation, moved))
            case "norm":
                values.append(tower.norm(x))
            case "Mul":
                values.append(tower.scaled(x))
            case "constant":
                shape = ((), (CHANNELS, 1, 1), (SIDE,), (1, CHANNELS, 1, 1))[tower.rng.integers(4)]
                sides = [x, tower.weight(*shape)]
                tower.rng.shuffle(sides)
                values.append(tower.add(str(tower.rng.choice(["Add", "Sub", "Mul"])), *sides))
            case "Relu":
                values.append(tower.add("Relu", x))
            case _:
                values.append(tower.add(str(kind), x, y))
    result = values[-1]
    for value in (tower.x, *values[-4:-1]):
        result = tower.add("Add", result, value)
    assert_equal_to_the_traced_graph(tower.traced(result), tmp_path)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("sizes", list(combinations([(1, 1), (2, 2), (3, 3), (1, 3), (5, 1)], 2)))
def test_two_convolutions_of_any_sizes_add_up(
    sizes: tuple[tuple[int, int], tuple[int, int]], dilation: int, stride: int, tmp_path: Path
) -> None:
    tower = Tower()
    both = [tower.convolution(tower.x, size, 1, dilation, stride=stride) for size in sizes]
    assert_equal_to_the_traced_graph(tower.traced(tower.add("Add", *both)), tmp_path)


@pytest.mark.parametrize("group", [1, CHANNELS])
def test_parallel_convolutions_with_a_norm_scale_and_residual_are_one(
    group: int, tmp_path: Path
) -> None:
    tower = Tower()
    x = tower.x
    branches = [tower.norm(tower.convolution(x, (size, size), group)) for size in (1, 3)]
    mixed = tower.add("Add", tower.add("Add", branches[0], tower.norm(x)), branches[1])
    mixed = tower.add("Sub", mixed, tower.add("Add", tower.norm(x), tower.weight()))
    traced = tower.traced(tower.add("Relu", tower.add("Add", x, tower.scaled(mixed))))
    assert kinds(traced) == Counter(["Transpose", "Cast", "Sigmoid", "Conv", "Relu", "Flatten"])
    assert_equal_to_the_traced_graph(traced, tmp_path)


def test_convolutions_that_go_over_a_value_in_different_ways_stay_apart() -> None:
    tower = Tower()
    x = tower.x
    branches = [
        tower.convolution(x),
        tower.convolution(x, group=CHANNELS),
        tower.convolution(x, dilation=2),
        tower.convolution(x, moved=1),
        tower.convolution(tower.add("Relu", x)),
    ]
    result = branches[0]
    for branch in branches[1:]:
        result = tower.add("Add", result, branch)
    assert kinds(tower.traced(result))["Conv"] == len(branches)


def test_a_convolution_that_others_see_is_computed_once() -> None:
    tower = Tower()
    seen = tower.convolution(tower.x)
    result = tower.add("Add", tower.norm(seen), tower.add("Relu", seen))
    counts = kinds(tower.traced(result))
    assert counts["Conv"] == counts["BatchNormalization"] == 1


def test_no_weight_is_read_before_it_is_asked_for() -> None:
    tower = Tower()
    traced = tower.traced(tower.norm(tower.convolution(tower.x)))
    name = next(node.input[1] for node in merged(traced).nodes if node.op_type == "Conv")
    weights = dict(tower.weights)
    tower.weights.clear()
    after = merged(traced)
    with pytest.raises(KeyError):
        after.constant(name)
    tower.weights |= weights
    assert after.constant(name).shape == after.shapes[name] == (CHANNELS, CHANNELS, 3, 3)
