"""A plain vision transformer as a graph like those that are traced."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from dev.weights import plain, small_architecture
from export.graphs.graph import Graph
from export.graphs.model_file import calibrate
from export.graphs.precisions import STEPS
from export.graphs.rewrite import write_traced
from export.graphs.towers import write_encoder
from export.judging import forward
from export.sources.source import Source

SETTINGS = {"mean": (0.48, 0.46, 0.41), "std": (0.27, 0.26, 0.28)}


@pytest.mark.parametrize("quick_gelu", [False, True])
@pytest.mark.parametrize("layer_scale", [False, True])
@pytest.mark.parametrize("ln_pre", [False, True])
def test_a_plain_tower_and_its_rewritten_graph_equal_the_forward_pass_in_numpy(
    quick_gelu: bool, layer_scale: bool, ln_pre: bool, tmp_path: Path
) -> None:
    small = small_architecture(quick_gelu=quick_gelu)
    tower = small.image.model_copy(
        update={"layer_scale": layer_scale, "ln_pre": ln_pre, "image_size": 70}
    )
    architecture = small.model_copy(update={"image": tower})
    rng = np.random.default_rng(0)
    arrays = {
        name: array + np.float32(0.1) * rng.standard_normal(array.shape, np.float32)
        for name, array in plain(architecture).items()
    }
    pixels = rng.integers(0, 256, (3, 70, 70, 3), dtype=np.uint8)
    expected = forward.embed_images(
        architecture, arrays, SETTINGS["mean"], SETTINGS["std"], pixels[:, :64, :64]
    )
    source = Source("small", architecture, arrays, SETTINGS, None, "none")  # type: ignore[arg-type]
    as_traced = forward.normalised(source.traced().run(pixels))
    np.testing.assert_allclose(as_traced, expected, atol=1e-5)
    path = tmp_path / "image.onnx"
    write_traced(source.traced(), Graph(STEPS["fp32"]), path, architecture.dimension)
    session = onnxruntime.InferenceSession(path)
    rows = session.run(None, {"pixels": pixels})[0]
    np.testing.assert_allclose(rows, expected, atol=1e-5)


def test_behind_the_last_attention_one_row_of_an_image_is_multiplied_in_the_bits_of_the_others(
    tmp_path: Path,
) -> None:
    architecture = small_architecture()
    source = Source("small", architecture, plain(architecture), SETTINGS, None, "none")  # type: ignore[arg-type]
    inputs = write_encoder(source, "image", "int8-rows", tmp_path)
    model = onnx.load(tmp_path / "image.onnx")
    model.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in inputs.values()
    )
    session = onnxruntime.InferenceSession(model.SerializeToString())
    values = session.run(list(inputs.values()), {"pixels": np.zeros((3, 64, 64, 3), np.uint8)})
    assert [len(value) for value in values] == [3 * 17] * 13 + [3] * 3
    # The projection alone is multiplied in fp32.
    assert [node.op_type for node in model.graph.node].count("MatMul") == 1


def test_attention_of_a_value_with_itself_is_one_operator_with_its_product_in_calibrated_bits(
    tmp_path: Path,
) -> None:
    architecture = small_architecture()
    source = Source("small", architecture, plain(architecture), SETTINGS, None, "none")  # type: ignore[arg-type]
    pixels = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    inputs = write_encoder(source, "image", "fp32", tmp_path)
    exact = onnxruntime.InferenceSession(tmp_path / "image.onnx").run(None, {"pixels": pixels})[0]
    statistics = calibrate(tmp_path / "image.onnx", inputs, [{"pixels": pixels}])
    write_encoder(source, "image", "int8", tmp_path, statistics)
    kinds = [node.op_type for node in onnx.load(tmp_path / "image.onnx").graph.node]
    assert (kinds.count("QAttention"), kinds.count("MultiHeadAttention")) == (4, 0)
    session = onnxruntime.InferenceSession(tmp_path / "image.onnx")
    rows = session.run(None, {"pixels": pixels})[0]
    assert (rows * exact).sum(1).min() > 0.999
    alone = np.concatenate([session.run(None, {"pixels": image[None]})[0] for image in pixels])
    np.testing.assert_array_equal(rows, alone)
