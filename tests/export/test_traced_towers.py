"""Image towers that are written from a traced graph equal open_clip's, with random weights."""

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

from dev.make.skeletons import skeletons
from export.graphs.model_file import calibrate
from export.graphs.towers import write_encoder
from export.sources.architecture import Architecture, TracedTower
from export.sources.open_clip_models import build, describe
from export.sources.source import EXTRAS, Source, read_checkpoint, read_table

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
    "coca_ViT-B-32",
)
# Its attention that pools is the only part that others lack, and fewer bits take minutes.
IN_FP32 = ("coca_ViT-B-32",)


# Hugging Face's text towers can't be built without files of the hub.
BUILT = [name for name, architecture in TRACED.items() if architecture.text.names == "open_clip"]


@pytest.mark.parametrize("name", BUILT)
def test_a_skeleton_has_the_names_and_shapes_of_a_checkpoint(name: str) -> None:
    with torch.device("meta"):
        model = build(name)
    architecture = TRACED[name]
    assert isinstance(architecture.image, TracedTower)
    described = architecture.image.model_copy(update={"skeleton": ""})
    assert describe(name, model) == architecture.model_copy(update={"image": described})
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


def run(path: Path, pixels: NDArray[np.uint8], *, several: bool) -> NDArray[np.float32]:
    """The rows of each image alone, which are the same to the last bit if `several` share a run."""
    session = onnxruntime.InferenceSession(path)
    sizes = session.get_inputs()[0].shape
    assert sizes == ["n" if several else 1, *pixels.shape[1:]]
    rows = np.concatenate([session.run(None, {"pixels": image[None]})[0] for image in pixels])
    if several:
        np.testing.assert_array_equal(session.run(None, {"pixels": pixels})[0], rows)
    return rows


@pytest.mark.parametrize("name", FAMILIES)
def test_a_traced_tower_equals_open_clips_in_fp32_and_is_near_it_in_fewer_bits(
    name: str, tmp_path: Path
) -> None:
    model = shaken(name)
    architecture = TRACED[name]
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    checkpoint = read_checkpoint(tmp_path / "weights.safetensors", name, architecture)
    source = Source(name, architecture, checkpoint, SETTINGS, None, "none")  # type: ignore[arg-type]
    pixels = squares(source.image_size, 5)
    mean, std = (torch.tensor(SETTINGS[key]).view(3, 1, 1) for key in ("mean", "std"))
    with torch.inference_mode():
        values = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std
        expected = model.encode_image(values, normalize=True).numpy()
    inputs = write_encoder(source, "image", "fp32", tmp_path)
    # Convolutions take one image at a time.
    several = name in ("EVA02-B-16", "PE-Core-T-16-384", "coca_ViT-B-32")
    exact = run(tmp_path / "image.onnx", pixels, several=several)
    assert (expected * exact).sum(1).min() > 0.99999
    assert np.abs(expected - exact).max() < 1e-4
    if name in IN_FP32:
        return
    statistics = calibrate(
        tmp_path / "image.onnx", inputs, [{"pixels": image[None]} for image in pixels]
    )
    for step, least in (("int8-full", 0.998), ("int14-both", 0.99999)):
        write_encoder(source, "image", step, tmp_path, statistics)
        rows = run(tmp_path / "image.onnx", pixels, several=several)
        assert (expected * rows).sum(1).min() > least, step
