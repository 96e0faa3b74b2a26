"""The 8-bit products on their own, in the run time that serves them."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.graphs.graph import Graph
from export.graphs.model_file import calibrate
from export.graphs.precisions import STEPS, scales
from export.graphs.rounding import InputStatistics

RNG = np.random.default_rng(0)
WEIGHT = (RNG.standard_normal((192, 96)) / 14).astype(np.float32)
BIAS = RNG.standard_normal(96).astype(np.float32)


def product(
    folder: Path,
    precision: str,
    *,
    least: float | None = None,
    largest: NDArray[np.float32] | None = None,
    moments: NDArray[np.float64] | None = None,
    signed: bool = False,
    weight: NDArray[np.float32] = WEIGHT,
) -> onnxruntime.InferenceSession:
    seen = (
        None if largest is None else InputStatistics(largest, [] if moments is None else [moments])
    )
    graph = Graph(STEPS[precision], {"product": seen} if seen else {}, signed=signed)
    smoothing = graph.smoothing("product", weight)
    x = graph.op("Div", "x", graph.constant(smoothing))
    y = graph.linear(x, weight * smoothing[:, None], BIAS, "product", least=least)
    graph.write(folder / "product.onnx", ("x", TensorProto.FLOAT, ["n", 192]), y, 96)
    return onnxruntime.InferenceSession(folder / "product.onnx")


def run(session: onnxruntime.InferenceSession, x: NDArray[np.float32]) -> NDArray[np.float32]:
    result: NDArray[np.float32] = session.run(None, {"x": x})[0]
    return result


def error(session: onnxruntime.InferenceSession, x: NDArray[np.float32]) -> float:
    """The root mean square."""
    return float(np.sqrt(((run(session, x) - (x @ WEIGHT + BIAS)) ** 2).mean()))


@pytest.mark.parametrize("least", [None, -0.17])
@pytest.mark.parametrize(
    ("precision", "most"),
    [
        ("fp32", 1e-5),
        ("int8-rows", 0.02),
        ("int8-rows-full", 0.012),
        ("int14", 0.01),
        ("int14-both", 2e-4),
    ],
)
def test_a_product_is_near_the_exact_one(
    precision: str, most: float, least: float | None, tmp_path: Path
) -> None:
    x = RNG.standard_normal((40, 192)).astype(np.float32)
    if least is not None:
        x = np.maximum(x, np.float32(least))
    assert error(product(tmp_path, precision, least=least), x) < most


@pytest.mark.parametrize("precision", ["int8", "int8-full"])
def test_a_product_with_one_scale_for_all_rows_is_near_the_exact_one(
    precision: str, tmp_path: Path
) -> None:
    x = RNG.standard_normal((40, 192)).astype(np.float32)
    assert error(product(tmp_path, precision, largest=np.abs(x).max(0)), x) < 0.03


@pytest.mark.parametrize("precision", [step for step in STEPS if step != "fp32"])
def test_no_product_saturates_where_inputs_and_weights_are_at_their_largest(
    precision: str, tmp_path: Path
) -> None:
    x = np.full((3, 192), 2, np.float32)
    weight = np.full((192, 96), 0.5, np.float32)
    session = product(tmp_path, precision, largest=np.full(192, 2, np.float32), weight=weight)
    np.testing.assert_allclose(run(session, x), np.broadcast_to(192 + BIAS, (3, 96)), rtol=0.01)


def test_channels_a_hundred_times_the_others_fit_one_scale(tmp_path: Path) -> None:
    x = RNG.standard_normal((400, 192)).astype(np.float32)
    x[:, 5::50] *= 100
    (tmp_path / "fp32").mkdir()
    product(tmp_path / "fp32", "fp32")
    graph = onnx.load(tmp_path / "fp32/product.onnx").graph
    value = next(node.input[0] for node in graph.node if node.op_type == "MatMul")
    seen = calibrate(
        tmp_path / "fp32/product.onnx", {"product": value}, [{"x": x[:100]}, {"x": x[100:]}]
    )["product"]
    largest = seen.largest
    np.testing.assert_array_equal(largest, np.abs(x).max(0))
    # At most 64 rows of a run.
    rows = np.concatenate([x[:100:2], x[100::5]]).astype(np.float64)
    np.testing.assert_allclose(seen.moments[0], rows.T @ rows)
    size = float(np.sqrt(((x @ WEIGHT) ** 2).mean()))
    calibrated = product(tmp_path, "int8", largest=largest)
    assert error(calibrated, x) < 0.02 * size
    assert error(product(tmp_path, "int8", largest=np.full(192, np.abs(x).max())), x) > 2 * error(
        calibrated, x
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("precision", "gain"),
    [("int8", 1.1), ("int8-full", 1.02), ("int8-rows", 1.5), ("int8-rows-full", 1.2)],
)
def test_weights_rounded_by_second_moments_err_less_on_rows_that_calibration_did_not_see(
    precision: str, gain: float, seed: int, tmp_path: Path
) -> None:
    """Channels go together, as those of trained models do; some are far above the others, and some
    always 0.
    """
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((192, 192)) * np.arange(1, 193)[:, None] ** -0.7
    mixed[:, rng.choice(192, 3)] *= 15
    mixed[:, rng.choice(192, 5)] = 0
    x = (rng.standard_normal((900, 192)) @ mixed).astype(np.float32)
    seen = x[:600].astype(np.float64)
    largest = np.abs(x[:600]).max(0)
    nearest = product(tmp_path, precision, largest=largest)
    by_moments = product(tmp_path, precision, largest=largest, moments=seen.T @ seen)
    assert gain * error(by_moments, x[600:]) < error(nearest, x[600:])


def test_integers_stay_in_their_range_whatever_the_weights_and_inputs(tmp_path: Path) -> None:
    for seed in range(8):
        rng = np.random.default_rng(seed)
        weight = rng.standard_t(1.5, (192, 96)).astype(np.float32)
        weight[rng.integers(192, size=9)] = 0
        x = rng.standard_t(1.5, (50, 192)) * (seed > 0)
        for highest in (63, 127):
            seen = InputStatistics(np.abs(x).max(0).astype(np.float32), [x.T @ x])
            scale = scales(weight, highest)
            integers = seen.rounded(weight, scale, highest, 1.0)
            assert np.abs(integers.astype(int)).max() <= highest
            # Nothing was seen: each is rounded to the nearest.
            if not seed:
                np.testing.assert_array_equal(integers, np.rint(weight / scale))


def test_what_reaches_beyond_calibration_is_cut_off_and_harms_no_other_row(tmp_path: Path) -> None:
    x = RNG.standard_normal((8, 192)).astype(np.float32)
    session = product(tmp_path, "int8", largest=np.abs(x).max(0))
    far = x.copy()
    far[3] *= 1e6
    np.testing.assert_array_equal(
        np.delete(run(session, far), 3, 0), np.delete(run(session, x), 3, 0)
    )
    assert np.abs(run(session, far)[3]).max() < 100


def test_bytes_are_multiplied_with_14_bits_of_a_weight(tmp_path: Path) -> None:
    graph = Graph(STEPS["int8"])
    y = graph.bytes_linear("x", WEIGHT)
    graph.write(tmp_path / "bytes.onnx", ("x", TensorProto.UINT8, ["n", 192]), y, 96)
    x = RNG.integers(0, 256, (20, 192), dtype=np.uint8)
    exact = x.astype(np.float32) @ WEIGHT
    difference = (
        onnxruntime.InferenceSession(tmp_path / "bytes.onnx").run(None, {"x": x})[0] - exact
    )
    assert np.sqrt((difference**2).mean()) < 2e-4 * np.sqrt((exact**2).mean())


@pytest.mark.parametrize("least", [None, -0.17])
@pytest.mark.parametrize("calibrated", [False, True])
@pytest.mark.parametrize("precision", [step for step in STEPS if step != "fp32"])
def test_a_row_is_the_same_to_the_last_bit_alone_and_beside_a_huge_one(
    precision: str, calibrated: bool, least: float | None, tmp_path: Path
) -> None:
    session = product(
        tmp_path,
        precision,
        least=least,
        largest=np.ones(192, np.float32) if calibrated else None,
        moments=np.eye(192) + 1,
    )
    for seed in range(5):
        rng = np.random.default_rng(seed)
        x = np.abs(rng.standard_normal((int(rng.integers(2, 40)), 192))).astype(np.float32)
        x[rng.integers(len(x))] *= np.float32(10 ** rng.uniform(0, 6))
        alone = np.concatenate([run(session, x[i : i + 1]) for i in range(len(x))])
        np.testing.assert_array_equal(run(session, x), alone)


def test_a_row_of_zeros_gives_the_bias(tmp_path: Path) -> None:
    result = run(product(tmp_path, "int8-rows"), np.zeros((2, 192), np.float32))
    np.testing.assert_allclose(result, np.stack([BIAS, BIAS]), atol=1e-6)


def test_signed_and_unsigned_8_bit_weights_stand_for_the_same_integers(tmp_path: Path) -> None:
    """So the unsigned ones, which saturate nowhere, can be judged in place of the signed ones,
    which need VNNI.
    """
    integers = {}
    for signed in (True, False):
        product(tmp_path, "int8-rows-full", signed=signed)
        arrays = [
            numpy_helper.to_array(array)
            for array in onnx.load(tmp_path / "product.onnx").graph.initializer
        ]
        weight = next(
            array for array in arrays if array.dtype in (np.int8, np.uint8) and array.ndim == 2
        )
        integers[signed] = weight.astype(int) - (0 if signed else 128)
        assert weight.dtype == (np.int8 if signed else np.uint8)
    np.testing.assert_array_equal(integers[True], integers[False])


def test_calibration_takes_weights_of_more_than_a_protobuf_message_can_hold(tmp_path: Path) -> None:
    rows = 2**31 // 4096 + 1
    with (tmp_path / "huge.weights").open("wb") as weights:
        weights.truncate(rows * 4096)  # sparse: it takes no room
    table = onnx.TensorProto(
        name="table", dims=[rows, 1024], data_type=TensorProto.FLOAT, data_location="EXTERNAL"
    )
    table.external_data.add(key="location", value="huge.weights")
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "ids"], ["row"])],
        "huge",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("row", TensorProto.FLOAT, ["n", 1024])],
        [table],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    (tmp_path / "huge.onnx").write_bytes(model.SerializeToString())
    seen = calibrate(tmp_path / "huge.onnx", {"product": "row"}, [{"ids": np.array([rows - 1])}])
    assert seen["product"].largest.shape == (1024,)
    assert {path.name for path in tmp_path.iterdir()} == {"huge.onnx", "huge.weights"}
