"""What is made without torch equals what is made through open_clip, for every plain vision
transformer of the table with CLIP's own tokenizer, with random weights.

Towers wider than 512 are built with two blocks instead of all: a block is like the next, and all of
them would take an hour and 20 GB. Sizes, widths, heads and positions are the true ones.
test_export.py exports some of them whole.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file

from classifier.contract.bundle import FILES, TOKENIZER
from dev.make.model_table import make_table
from dev.make.tokenizer import text_settings, write_tokenizer
from export.errors import ExportError
from export.graphs.text_inputs import run_inputs
from export.graphs.towers import write_encoder
from export.judging import forward
from export.pipeline import DEMO
from export.sources import torch_source
from export.sources.architecture import Architecture, ImageTower
from export.sources.checkpoint import CheckpointError, open_checkpoint
from export.sources.open_clip_models import describe, model_config
from export.sources.source import Request, Source, read_checkpoint, read_table
from export.sources.torch_source import arrays
from export.table.rows import TABLE

FULL_WIDTH = 512
MEAN = open_clip.OPENAI_DATASET_MEAN
STD = open_clip.OPENAI_DATASET_STD
ARCHITECTURES = {
    name: architecture
    for name, value in read_table()["architectures"].items()
    if isinstance((architecture := Architecture.model_validate(value)).image, ImageTower)
    and name not in read_table()["tokenizers"]
}


def test_the_table_is_what_open_clip_says() -> None:
    assert json.loads(json.dumps(make_table())) == json.loads(TABLE.read_text())


def test_the_tokenizer_of_the_demo_is_every_models(tmp_path: Path) -> None:
    demo = json.loads((DEMO / "bundle.json").read_text())["text"]
    own = ARCHITECTURES.keys() - read_table()["tokenizers"].keys()
    by_length = {ARCHITECTURES[name].text.context_length: name for name in sorted(own)}
    for length, name in by_length.items():
        write_tokenizer(name, tmp_path)
        assert (tmp_path / TOKENIZER).read_bytes() == (DEMO / TOKENIZER).read_bytes()
        assert text_settings(name).model_dump() == demo | {"context_length": length}


def model_of(name: str) -> tuple[Any, Architecture]:
    config = {key: value for key, value in model_config(name).items() if key != "custom_text"}
    if ARCHITECTURES[name].image.width > FULL_WIDTH:  # type: ignore[union-attr]
        config["vision_cfg"]["layers"] = config["text_cfg"]["layers"] = 2
    torch.manual_seed(0)
    model = open_clip.CLIP(**config).eval()
    for parameter in model.parameters():
        # Norms, biases and scales are constant in a new model: here each must find its place.
        if parameter.ndim == 1:
            parameter.data += 0.05 * torch.randn_like(parameter)
    return model, describe("ViT-B-32", model)


# With QuickGELU a tower differs in nothing else.
DISTINCT = [
    name
    for name in ARCHITECTURES
    if not name.endswith("-quickgelu") or name == "ViT-B-32-quickgelu"
]


@pytest.mark.parametrize("name", DISTINCT)
def test_the_bytes_equal_those_through_torch_and_the_embeddings_open_clips(
    name: str, tmp_path: Path
) -> None:
    model, architecture = model_of(name)
    two_blocks = {"layers": 2} if ARCHITECTURES[name].image.width > FULL_WIDTH else {}  # type: ignore[union-attr]
    listed = ARCHITECTURES[name]
    assert listed.image
    expected = {
        "image": listed.image.model_copy(update=two_blocks),
        "text": listed.text.model_copy(update=two_blocks),
    }
    assert architecture == listed.model_copy(update=expected)
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    checkpoint = read_checkpoint(tmp_path / "weights.safetensors", name, architecture)
    settings = {"mean": MEAN, "std": STD}
    weights = None
    written = []
    for folder, values in (
        (tmp_path / "torch", arrays(model)),
        (tmp_path / "numpy", checkpoint),
    ):
        folder.mkdir()
        source = Source(name, architecture, values, settings, weights, "none")  # type: ignore[arg-type]
        for encoder in ("image", "text"):
            write_encoder(source, encoder, "fp32", folder)
        written.append([(folder / name).read_bytes() for name in FILES[:4]])
    assert written[0] == written[1]

    pixels = np.random.default_rng(0).integers(
        0, 256, (2, source.image_size, source.image_size, 3), dtype=np.uint8
    )
    ids = open_clip.get_tokenizer(name)(["a dog", "a photo of two cats"])
    with torch.inference_mode():
        normalised = (
            torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - torch.tensor(MEAN).view(3, 1, 1)
        ) / torch.tensor(STD).view(3, 1, 1)
        images = model.encode_image(normalised, normalize=True).numpy()
        texts = model.encode_text(ids, normalize=True).numpy()
    for expected_rows, rows in (
        (images, run(tmp_path / "numpy/image.onnx", {"pixels": pixels})),
        (texts, run(tmp_path / "numpy/text.onnx", run_inputs(source, ids.tolist()))),
        (images, forward.embed_images(architecture, checkpoint, MEAN, STD, pixels)),
        (
            texts,
            forward.embed_texts(
                architecture, checkpoint, [[i for i in row if i] for row in ids.tolist()]
            ),
        ),
    ):
        assert (expected_rows * rows).sum(1).min() > 0.99999
        assert np.abs(expected_rows - rows).max() < 1e-4


def run(path: Path, feed: dict[str, Any]) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(path).run(["embeddings"], feed)[0]


def small_model() -> Any:
    torch.manual_seed(0)
    vision = {"layers": 1, "width": 64, "head_width": 32, "patch_size": 16, "image_size": 32}
    return open_clip.CLIP(
        32, vision, {"context_length": 77, "vocab_size": 100, "width": 64, "heads": 2, "layers": 1}
    ).eval()


# Torch warns of all that TorchScript is, and OpenAI's files are that.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "kind", ["state dict", "training checkpoint", "half", "bfloat16", "TorchScript of fp16"]
)
def test_an_archive_of_torch_is_read_without_torch(kind: str, tmp_path: Path) -> None:
    model = small_model()
    path = tmp_path / "weights.pt"
    if kind == "state dict":
        torch.save(model.state_dict(), path)
    elif kind == "training checkpoint":
        torch.save(
            {
                "epoch": 3,
                "state_dict": {f"module.{key}": value for key, value in model.state_dict().items()},
            },
            path,
        )
    elif kind == "TorchScript of fp16":
        # OpenAI's own files are such archives.
        pixels = torch.zeros(1, 3, 32, 32)
        ids = torch.zeros(1, 77, dtype=torch.int64)
        torch.jit.trace_module(
            model, {"encode_image": pixels, "encode_text": ids}, check_trace=False
        ).half().save(str(path))
        model = model.half()
    else:
        model = model.half() if kind == "half" else model.bfloat16()
        torch.save(model.state_dict(), path)
    architecture = describe("ViT-B-32", model)
    checkpoint = read_checkpoint(path, "small", architecture)
    for name, tensor in model.state_dict().items():
        np.testing.assert_array_equal(checkpoint[name], tensor.float().numpy())


def test_an_archive_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return print, ("run",)

    torch.save({"weight": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(CheckpointError, match=r"builtin.*\.print, which is no weight"):
        open_checkpoint(tmp_path / "evil.pt")


def test_weights_of_another_shape_are_refused_by_name(tmp_path: Path) -> None:
    model = small_model()
    architecture = describe("ViT-B-32", model)
    state = model.state_dict()
    assert architecture.image

    def refused(changed: dict[str, torch.Tensor], message: str) -> None:
        save_file(changed, tmp_path / "weights.safetensors")
        with pytest.raises(ExportError, match=message):
            read_checkpoint(tmp_path / "weights.safetensors", "small", architecture)

    refused(
        {**state, "visual.positional_embedding": torch.zeros(10, 64)},
        "positions for 9 patches, and small has 4",
    )
    refused({**state, "extra": torch.zeros(1)}, "have no place for extra")
    refused(
        {key: value for key, value in state.items() if key != "visual.proj"}, r"lack visual\.proj"
    )
    refused({**state, "ln_final.bias": torch.zeros(3)}, r"another shape of ln_final\.bias")
    (tmp_path / "weights.safetensors").write_bytes(b"no weights")
    with pytest.raises(ExportError, match="neither a whole safetensors file"):
        read_checkpoint(tmp_path / "weights.safetensors", "small", architecture)


def test_through_torch_positions_of_another_grid_are_refused_and_not_interpolated(
    tmp_path: Path,
) -> None:
    state = open_clip.create_model("ViT-S-32-alt").state_dict()
    state["visual.positional_embedding"] = torch.zeros(
        17, state["visual.positional_embedding"].shape[1]
    )
    torch.save(state, tmp_path / "weights.pt")
    request = Request("ViT-S-32-alt", str(tmp_path / "weights.pt"), {"mean": MEAN, "std": STD})
    with pytest.raises(ExportError, match="Resizing position embedding"):
        torch_source.load(request, print)
