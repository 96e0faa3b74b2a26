"""Export and verify for the true architectures, with random weights: they say nothing, but every
weight has to find its place.
"""

from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch

from classifier.model.encoders import Encoders
from export.errors import ExportError
from export.graphs.precisions import LADDERS
from export.pipeline import export


def random_weights(model: str, folder: Path) -> str:
    torch.manual_seed(0)
    path = folder / f"{model}.pt"
    torch.save(open_clip.create_model(model).state_dict(), path)
    return str(path)


@pytest.mark.parametrize(
    ("model", "trained_with", "precision"),
    [
        ("ViT-B-32-quickgelu", "openai", "int8"),
        # A small one, since each step of the ladder takes minutes with a large one.
        ("ViT-S-32-alt", {"mean": (0.5,) * 3, "std": (0.5,) * 3}, "auto"),
        # Traced for this export, with a tag's own settings.
        ("RN50-quickgelu", "openai", "int8"),
        # Its texts have no causal mask.
        ("MobileCLIP2-S0", "dfndr2b", "int14"),
    ],
)
def test_a_model_of_each_kind_is_exported_and_verified_against_open_clip(
    model: str, trained_with: str | dict[str, Any], precision: str, tmp_path: Path
) -> None:
    output = tmp_path / "bundle"
    made = export(
        model,
        random_weights(model, tmp_path),
        trained_with,
        precision,
        output,
        name="random",
        crops=12,
        with_torch=True,
    )
    assert made.fidelity["strings_with_equal_ids"] == 20_000
    assert made.fidelity["pictures_with_equal_pixels"] == 12
    assert float(made.fidelity["fp32_least_image_cosine"]) >= 0.99999
    assert float(made.fidelity["fp32_least_text_cosine"]) >= 0.99999
    if precision != "auto":
        assert set(made.precision.values()) == {precision}
    else:
        # Step by step down the ladder, to the first that holds.
        for encoder, taken in made.precision.items():
            ladder = LADDERS["arm64"]
            tried = [
                step
                for step in ladder
                if f"{encoder}_{step}_change_99th_percentile" in made.fidelity
            ]
            assert tuple(tried) == ladder[: len(tried)] and (
                taken == tried[-1] or (taken == "fp32" and len(tried) == len(ladder) - 1)
            )
    encoders = Encoders.load(output, threads=2, verify_hashes=True)
    assert encoders.manifest.name == f"{model}/random"
    # 16 prompts of one length share a run; whatever the precision, company changes no bit.
    prompts = [[*made.text.start_ids, 320, i, *made.text.end_ids] for i in range(1000, 1040)]
    together = encoders.encode_text(prompts)
    assert all(
        np.array_equal(encoders.encode_text([ids])[0], row)
        for ids, row in zip(prompts, together, strict=True)
    )
    assert made.image.max_batch == {
        "ViT-B-32-quickgelu": 8,
        "ViT-S-32-alt": 8,
    }.get(model, 1)
    squares = list(
        np.random.default_rng(0).integers(
            0, 256, (9, made.image.size, made.image.size, 3), dtype=np.uint8
        )
    )
    squares[4][:] = 0
    rows = encoders.encode_images(squares)
    assert all(
        np.array_equal(encoders.encode_images([square])[0], row)
        for square, row in zip(squares, rows, strict=True)
    )
    assert rows[0].shape == (made.dimension,)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_how_images_are_resized_comes_from_the_settings_of_the_weights(tmp_path: Path) -> None:
    assert open_clip.get_pretrained_cfg("ViT-L-14", "laion2b_s32b_b82k")["mean"] == (0.5, 0.5, 0.5)
    weights = random_weights("RN50", tmp_path)
    settings: dict[str, Any] = {
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
        "interpolation": "bilinear",
        "resize_mode": "squash",
    }
    one = export("RN50", weights, settings, "fp32", tmp_path / "one", name="one", crops=4)
    assert (one.image.interpolation, one.image.resize_mode) == ("bilinear", "squash")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return random_weights("RN50", tmp_path_factory.mktemp("weights"))


@pytest.mark.parametrize(
    ("model", "trained_with", "said"),
    [
        ("RN50", None, "PRETRAINED_CFG"),
        ("RN50", "no_such_tag", "is no tag of RN50"),
        ("RN50", '{"mean": [0.5, 0.5, 0.5]}', "lacks std"),
        ("RN50", "openai", "trained with QuickGELU.*MODEL=RN50-quickgelu"),
        (
            "RN50-quickgelu",
            {"mean": (0.5,) * 3, "std": (0.5,) * 3},
            "trained without QuickGELU.*MODEL=RN50",
        ),
        ("RN101", {"mean": (0.5,) * 3, "std": (0.5,) * 3}, "don't fit RN101"),
        ("ViT-Z-1", "openai", "no model of open_clip"),
        ("coca_roberta-ViT-B-32", "laion2b_s13b_b90k", "one of Hugging Face"),
        ("roberta-ViT-B-32", "laion2b_s12b_b32k", "open_clip contradicts itself"),
    ],
)
def test_what_cannot_be_expressed_is_refused_by_name_and_leaves_nothing(
    model: str, trained_with: str | dict[str, Any] | None, said: str, weights: str, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=said):
        export(model, weights, trained_with, "fp32", tmp_path / "bundle", name="x", crops=1)
    assert list(tmp_path.iterdir()) == []


def test_a_disagreement_with_open_clip_fails_the_export_and_leaves_nothing(
    weights: str, tmp_path: Path
) -> None:
    # open_clip forgets transparency, we put it on white: told apart from what must agree, which
    # this stands in for.
    pictures = [np.random.default_rng(0).integers(0, 256, (90, 80, 4), dtype=np.uint8)]
    with pytest.raises(ExportError, match="prepared differently"):
        export(
            "RN50",
            weights,
            {"mean": (0.5,) * 3, "std": (0.5,) * 3},
            "fp32",
            tmp_path / "bundle",
            name="x",
            pictures=pictures,
            with_torch=True,
        )
    assert list(tmp_path.iterdir()) == []
