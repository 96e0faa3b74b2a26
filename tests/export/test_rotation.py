"""A tower with a turned residual stream is the same tower, and loses less in 8 bits."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from PIL import Image

from dev.benchmark.ladder import SETTINGS, small_ladder
from dev.weights import small_architecture, unfriendly
from export.graphs import skeleton
from export.graphs.changes import Turn
from export.graphs.graph import Graph
from export.graphs.model_file import calibrate
from export.graphs.precisions import STEPS
from export.graphs.products import Products
from export.graphs.rewrite import write_traced
from export.graphs.rotation import NotRotatableError, rotated
from export.graphs.skeleton import TracedGraph, weight_shapes
from export.judging.ladder import Calibrated
from export.sources.source import Source

Floats = NDArray[np.float32]


def shaken(shapes: dict[str, tuple[int, ...]]) -> dict[str, Floats]:
    """Random weights whose vectors are neither zeros nor ones: each has to find its place."""
    rng = np.random.default_rng(0)
    arrays = {}
    for name, shape in shapes.items():
        values = rng.standard_normal(shape, np.float32)
        wide = len(shape) > 1
        arrays[name] = values * np.prod(shape[1:], dtype=float) ** -0.5 if wide else 1 + values / 4
    return {name: np.asarray(array, np.float32) for name, array in arrays.items()}


def embeddings(traced: TracedGraph, folder: Path) -> NDArray[np.float64]:
    width = traced.shapes[traced.result][-1]
    write_traced(traced, Graph(STEPS["fp32"]), folder / "image.onnx", width)
    session = onnxruntime.InferenceSession(folder / "image.onnx")
    side = traced.shapes[traced.entry][1]
    small = np.random.default_rng(1).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    squares = [np.asarray(Image.fromarray(image).resize((side, side))) for image in small]
    rows = [session.run(None, {"pixels": square[None]})[0] for square in squares]
    exact: NDArray[np.float64] = np.concatenate(rows).astype(np.float64)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    return exact


def check_equal(traced: TracedGraph, folder: Path) -> int:
    """Returns how many products the turned graph has more."""
    turned = rotated(traced)
    cosines = (embeddings(traced, folder) * embeddings(turned, folder)).sum(1)
    assert cosines.min() > 0.9999999
    products = [
        sum(node.op_type in ("MatMul", "Gemm") for node in Products(graph, means=False).nodes)
        for graph in (turned, traced)
    ]
    return products[0] - products[1]


@pytest.mark.parametrize("width", [192, 1024, 1664, 45])
def test_the_matrix_is_orthogonal_and_keeps_the_mean_of_a_row(width: int) -> None:
    matrix = Turn(width).back()
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(width), atol=1e-13)
    np.testing.assert_allclose(np.ones(width) @ matrix, np.ones(width), atol=1e-13)
    # Powers of two give many blocks, each of which is spread over all of them.
    assert width == 45 or np.abs(matrix).max() < 0.5


def test_rows_are_turned_alone_as_together_and_taken_back() -> None:
    rows = np.random.default_rng(0).standard_t(2, (50, 768))
    turn = Turn(768)
    turned = turn(rows)
    np.testing.assert_array_equal(np.concatenate([turn(row[None]) for row in rows]), turned)
    np.testing.assert_allclose(turned @ turn.back(), rows, atol=1e-11 * np.abs(rows).max())
    scale = np.linspace(0.5, 2, 768)
    scaled = Turn(768, lambda: scale)
    np.testing.assert_allclose(scaled(rows), (rows * scale) @ turn.back(), atol=1e-9)
    np.testing.assert_allclose(turned @ scaled.back(), rows * scale, atol=1e-9)


@pytest.mark.parametrize("layer_scale", [False, True])
@pytest.mark.parametrize("ln_pre", [False, True])
def test_a_plain_tower_stays_equal_with_one_product_more_behind_ln_pre(
    layer_scale: bool, ln_pre: bool, tmp_path: Path
) -> None:
    small = small_architecture()
    tower = small.image.model_copy(update={"layer_scale": layer_scale, "ln_pre": ln_pre})
    architecture = small.model_copy(update={"image": tower})
    arrays = shaken(architecture.shapes())
    source = Source("small", architecture, arrays, SETTINGS, None, "none")  # type: ignore[arg-type]
    assert check_equal(source.traced(), tmp_path) == ln_pre


def test_a_traced_tower_stays_equal(tmp_path: Path) -> None:
    model = skeleton.read("PE-Core-T-16-384")
    arrays = shaken(weight_shapes(model))
    traced = TracedGraph(model, arrays, SETTINGS["mean"], SETTINGS["std"])
    assert check_equal(traced, tmp_path) == 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("RN50", "no residual stream is read by norms alone"),
        ("convnext_base", "no residual stream is read by norms alone"),
        ("EVA02-E-14", "no residual stream is read by norms alone"),
        ("MobileCLIP2-S3", "its residual stream is read by Conv"),
        ("ViTamin-S", "read by other nodes than products"),
    ],
)
def test_other_towers_are_refused_with_a_reason(name: str, reason: str) -> None:
    traced = TracedGraph(skeleton.read(name), {}, SETTINGS["mean"], SETTINGS["std"])
    with pytest.raises(NotRotatableError, match=reason):
        rotated(traced)


def test_8_bits_err_less_on_unfriendly_weights_and_company_changes_no_bit(tmp_path: Path) -> None:
    ladder, _ = small_ladder(tmp_path, unfriendly(small_architecture()), "arm64", 30)
    fp32 = ladder.set_aside("image") / "image.onnx"
    calibrated = ladder.calibrate("image", fp32)
    assert calibrated.source.rotated
    seen = calibrate(fp32, ladder.inputs["image"], list(ladder.runs("image")))
    for step in ("int8", "int8-full", "int8-rows", "int8-rows-full"):
        without, with_rotation = (
            np.square(
                ladder.try_step("image", step, way, ladder.served, required=True).served.images
                - ladder.served.images
            ).mean()
            for way in (Calibrated(ladder.source, seen), calibrated)
        )
        assert with_rotation < 0.9 * without
        encoders = ladder.load()
        images = ladder.reference.pixels[:9]
        for image, row in zip(images, encoders.encode_images(images), strict=True):
            np.testing.assert_array_equal(encoders.encode_images([image])[0], row)
