"""Image towers that are written from a traced graph, and texts of every kind of text tower, equal
open_clip's, with random weights.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import open_clip
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file

from export import forward, skeleton
from export.architecture import Architecture, TracedTower
from export.make_skeletons import skeletons
from export.model_file import calibrate
from export.open_clip_models import build, describe, model_config
from export.source import EXTRAS, Source, read_checkpoint, read_table
from export.torch_source import arrays
from export.towers import distinct_rows, write_encoder

SETTINGS = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
TRACED = {
    name: architecture
    for name, value in read_table()["architectures"].items()
    if isinstance((architecture := Architecture.model_validate(value)).image, TracedTower)
}
# One of every family that a machine with 4 GB can hold.
FAMILIES = (
    "RN50",
    "convnext_base",
    "EVA02-B-16",
    "MobileCLIP-B",
    "MobileCLIP2-S0",
    "PE-Core-T-16-384",
    "ViTamin-S",
)


@pytest.mark.parametrize("name", TRACED)
def test_a_skeleton_has_the_names_and_shapes_of_a_checkpoint(name: str) -> None:
    with torch.device("meta"):
        model = build(name)
    architecture = TRACED[name]
    assert isinstance(architecture.image, TracedTower)
    described = architecture.image.model_copy(update={"skeleton": ""})
    assert describe(model) == architecture.model_copy(update={"image": described})
    state = {
        key.removeprefix("text."): tuple(tensor.shape)
        for key, tensor in model.state_dict().items()
        if not EXTRAS.fullmatch(key.removeprefix("text."))
    }
    assert architecture.shapes() == state
    assert architecture.image.skeleton == skeletons()[name]


def shaken(name: str) -> Any:
    """open_clip's model with every vector moved: each has to find its place."""
    torch.manual_seed(0)
    model = build(name)
    for parameter in model.parameters():
        if parameter.ndim <= 1:
            parameter.data += 0.1 * torch.randn_like(parameter)
    for key, buffer in model.named_buffers():
        if key.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        elif key.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return model


def squares(side: int, count: int) -> NDArray[np.uint8]:
    small = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    size = (side, side)
    return np.stack([np.asarray(Image.fromarray(image).resize(size)) for image in small])


def run(path: Path, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(path)
    return np.concatenate([session.run(None, {"pixels": image[None]})[0] for image in pixels])


@pytest.mark.parametrize("name", FAMILIES)
def test_a_traced_tower_equals_open_clips_in_fp32_and_is_near_it_in_fewer_bits(
    name: str, tmp_path: Path
) -> None:
    model = shaken(name)
    architecture = TRACED[name]
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    checkpoint = read_checkpoint(tmp_path / "weights.safetensors", name, architecture)
    assert isinstance(architecture.image, TracedTower)
    graph = skeleton.read(architecture.image.skeleton)
    source = Source(name, architecture, checkpoint, SETTINGS, None, "none", graph=graph)  # type: ignore[arg-type]
    pixels = squares(source.image_size, 5)
    mean, std = (torch.tensor(SETTINGS[key]).view(3, 1, 1) for key in ("mean", "std"))
    with torch.inference_mode():
        values = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std
        expected = model.encode_image(values, normalize=True).numpy()
    inputs = write_encoder(source, "image", "fp32", tmp_path)
    exact = run(tmp_path / "image.onnx", pixels)
    assert (expected * exact).sum(1).min() > 0.99999
    assert np.abs(expected - exact).max() < 1e-4
    largest = calibrate(
        tmp_path / "image.onnx", inputs, [{"pixels": image[None]} for image in pixels]
    )
    for step, least in (("int8-full", 0.998), ("int14-both", 0.99999)):
        write_encoder(source, "image", step, tmp_path, largest)
        assert (expected * run(tmp_path / "image.onnx", pixels)).sum(1).min() > least, step


# One of every kind of text tower: without a causal mask, with GELU's approximation, pooled at the
# last position or at an end token, projected with a bias or not at all.
TEXTS = (
    "MobileCLIP2-S0",
    "PE-Core-T-16-384",
    "ViT-B-16-SigLIP",
    "ViT-B-32-SigLIP2-256",
    "ViT-SO400M-16-SigLIP-i18n-256",
    "ViT-L-14-CLIPA",
    "ViT-L-14-worldwide",
    "ViT-H-14-worldwide-quickgelu",
)


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_tower_equals_open_clips_at_the_length_that_it_serves(
    name: str, tmp_path: Path
) -> None:
    config = model_config(name)
    text = config["text_cfg"] | {"layers": 2, "vocab_size": 1000}
    vision = {"layers": 1, "width": 64, "head_width": 32, "patch_size": 16, "image_size": 32}
    torch.manual_seed(0)
    model = open_clip.CustomTextCLIP(
        config["embed_dim"], vision, text, quick_gelu=config.get("quick_gelu", False)
    ).eval()
    for parameter in model.parameters():
        if parameter.ndim <= 1:
            parameter.data += 0.1 * torch.randn_like(parameter)
    architecture = describe(model)
    listed = Architecture.model_validate(read_table()["architectures"][name])
    assert architecture.text == listed.text.model_copy(update={"layers": 2, "vocabulary": 1000})
    source = Source(name, architecture, arrays(model), SETTINGS, None, "none")  # type: ignore[arg-type]
    write_encoder(source, "text", "fp32", tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / "text.onnx")
    rng = np.random.default_rng(0)
    end = architecture.text.eos_id or 999
    texts = [[5, *rng.integers(6, 998, count).tolist(), end] for count in (1, 2, 7, 20, 27)]
    pad = 0 if architecture.text.pool == "argmax" else 1
    for ids in texts:
        padded = ids + [pad] * (architecture.text.context_length - len(ids))
        with torch.inference_mode():
            expected = model.encode_text(torch.tensor([padded]), normalize=True).numpy()
        served = ids if architecture.text.causal else padded
        got = session.run(None, {"ids": np.array([served])})[0]
        checked = forward.embed_texts(architecture, source.arrays, [ids], pad)
        for rows in (got, checked):
            assert (expected * rows).sum() > 0.99999
            assert np.abs(expected - rows).max() < 1e-4


def test_equal_rows_of_a_table_are_found_without_sorting_rows() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((300, 16)).astype(np.float32)
    table = rows[rng.integers(300, size=9000)]
    found, index = distinct_rows(table)
    assert len(found) == len(np.unique(table, axis=0))
    np.testing.assert_array_equal(found[index], table)
