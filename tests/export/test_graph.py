"""The 8-bit products on their own, in the run time that serves them."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from export.graph import Graph, calibrate

RNG = np.random.default_rng(0)
WEIGHT = (RNG.standard_normal((192, 96)) / 14).astype(np.float32)
BIAS = RNG.standard_normal(96).astype(np.float32)


def product(
    folder: Path, precision: str, *, least: float | None = None, largest: NDArray[np.float32] | None = None
) -> onnxruntime.InferenceSession:
    graph = Graph(precision, {} if largest is None else {"product": largest})
    smoothing = graph.smoothing("product", WEIGHT)
    x = graph.op("Div", "x", graph.constant(smoothing))
    y = graph.linear(x, WEIGHT * smoothing[:, None], BIAS, "product", least=least)
    graph.write(folder / "product.onnx", ("x", TensorProto.FLOAT, ["n", 192]), y, 96)
    return onnxruntime.InferenceSession(folder / "product.onnx")


def run(session: onnxruntime.InferenceSession, x: NDArray[np.float32]) -> NDArray[np.float32]:
    result: NDArray[np.float32] = session.run(None, {"x": x})[0]
    return result


def error(session: onnxruntime.InferenceSession, x: NDArray[np.float32]) -> float:
    """The root mean square."""
    return float(np.sqrt(((run(session, x) - (x @ WEIGHT + BIAS)) ** 2).mean()))


@pytest.mark.parametrize(
    ("precision", "least", "most"),
    [("fp32", None, 1e-5), ("int8", None, 0.02), ("int8", -0.17, 0.02)],
    ids=["fp32", "row by row", "row by row from a known least"],
)
def test_a_product_is_near_the_exact_one(precision: str, least: float | None, most: float, tmp_path: Path) -> None:
    x = RNG.standard_normal((40, 192)).astype(np.float32)
    if least is not None:
        x = np.maximum(x, np.float32(least))
    assert error(product(tmp_path, precision, least=least), x) < most


def test_channels_a_hundred_times_the_others_fit_one_scale(tmp_path: Path) -> None:
    x = RNG.standard_normal((400, 192)).astype(np.float32)
    x[:, 5::50] *= 100
    (tmp_path / "fp32").mkdir()
    product(tmp_path / "fp32", "fp32")
    graph = onnx.load(tmp_path / "fp32/product.onnx").graph
    value = next(node.input[0] for node in graph.node if node.op_type == "MatMul")
    largest = calibrate(tmp_path / "fp32/product.onnx", {"product": value}, [{"x": x[:100]}, {"x": x[100:]}])["product"]
    np.testing.assert_array_equal(largest, np.abs(x).max(0))
    size = float(np.sqrt(((x @ WEIGHT) ** 2).mean()))
    calibrated = product(tmp_path, "int8", largest=largest)
    assert error(calibrated, x) < 0.02 * size
    assert error(product(tmp_path, "int8", largest=np.full(192, np.abs(x).max())), x) > 2 * error(calibrated, x)


def test_what_reaches_beyond_calibration_is_cut_off_and_harms_no_other_row(tmp_path: Path) -> None:
    x = RNG.standard_normal((8, 192)).astype(np.float32)
    session, far = product(tmp_path, "int8", largest=np.abs(x).max(0)), x.copy()
    far[3] *= 1e6
    np.testing.assert_array_equal(np.delete(run(session, far), 3, 0), np.delete(run(session, x), 3, 0))
    assert np.abs(run(session, far)[3]).max() < 100


def test_bytes_are_multiplied_with_14_bits_of_a_weight(tmp_path: Path) -> None:
    graph = Graph("int8")
    y = graph.bytes_linear("x", WEIGHT)
    graph.write(tmp_path / "bytes.onnx", ("x", TensorProto.UINT8, ["n", 192]), y, 96)
    x = RNG.integers(0, 256, (20, 192), dtype=np.uint8)
    exact = x.astype(np.float32) @ WEIGHT
    difference = onnxruntime.InferenceSession(tmp_path / "bytes.onnx").run(None, {"x": x})[0] - exact
    assert np.sqrt((difference**2).mean()) < 2e-4 * np.sqrt((exact**2).mean())


@pytest.mark.parametrize("least", [None, -0.17])
def test_a_row_is_the_same_to_the_last_bit_alone_and_beside_a_huge_one(least: float | None, tmp_path: Path) -> None:
    session = product(tmp_path, "int8", least=least)
    x = np.abs(RNG.standard_normal((33, 192))).astype(np.float32)
    x[7] *= 1000
    alone = np.concatenate([run(session, x[i : i + 1]) for i in range(len(x))])
    np.testing.assert_array_equal(run(session, x), alone)


def test_a_row_of_zeros_gives_the_bias(tmp_path: Path) -> None:
    result = run(product(tmp_path, "int8"), np.zeros((2, 192), np.float32))
    np.testing.assert_allclose(result, np.stack([BIAS, BIAS]), atol=1e-6)
