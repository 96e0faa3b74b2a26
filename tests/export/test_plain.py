"""A plain vision transformer as a graph like those that are traced."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from dev.weights import plain, small_architecture
from export.graphs.graph import Graph
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
