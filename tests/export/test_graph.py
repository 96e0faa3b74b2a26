"""The 8-bit products on their own, in the run time that serves them."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from classifier.export.graph import Graph

RNG = np.random.default_rng(0)
WEIGHT = (RNG.standard_normal((192, 96)) / 14).astype(np.float32)
BIAS = RNG.standard_normal(96).astype(np.float32)


def product(folder: Path, precision: str, rows: bool, least: float | None = None) -> onnxruntime.InferenceSession:
    graph = Graph(precision, rows=rows)
    y = graph.linear("x", WEIGHT, BIAS, least=least)
    graph.write(folder / "product.onnx", ("x", TensorProto.FLOAT, ["n", 192]), y, 96)
    return onnxruntime.InferenceSession(folder / "product.onnx")


def run(session: onnxruntime.InferenceSession, x: NDArray[np.float32]) -> NDArray[np.float32]:
    result: NDArray[np.float32] = session.run(None, {"x": x})[0]
    return result


@pytest.mark.parametrize(
    ("precision", "rows", "least", "error"),
    [("fp32", False, None, 1e-5), ("int8", False, None, 0.02), ("int8", True, None, 0.02), ("int8", True, -0.17, 0.02)],
    ids=["fp32", "whole tensor", "row by row", "row by row from a known least"],
)
def test_a_product_is_near_the_exact_one(precision: str, rows: bool, least: float | None, error: float, tmp_path: Path) -> None:
    x = RNG.standard_normal((40, 192)).astype(np.float32)
    if least is not None:
        x = np.maximum(x, np.float32(least))
    difference = run(product(tmp_path, precision, rows, least), x) - (x @ WEIGHT + BIAS)
    assert np.sqrt((difference**2).mean()) < error


@pytest.mark.parametrize("least", [None, -0.17])
def test_a_row_is_the_same_to_the_last_bit_alone_and_beside_a_huge_one(least: float | None, tmp_path: Path) -> None:
    session = product(tmp_path, "int8", True, least)
    x = np.abs(RNG.standard_normal((33, 192))).astype(np.float32)
    x[7] *= 1000
    alone = np.concatenate([run(session, x[i : i + 1]) for i in range(len(x))])
    np.testing.assert_array_equal(run(session, x), alone)


def test_a_row_of_zeros_gives_the_bias(tmp_path: Path) -> None:
    result = run(product(tmp_path, "int8", True), np.zeros((2, 192), np.float32))
    np.testing.assert_allclose(result, np.stack([BIAS, BIAS]), atol=1e-6)
