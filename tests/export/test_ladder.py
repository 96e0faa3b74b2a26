"""The gate on embeddings laid out like a trained CLIP's, and the ladder on small models whose
weights are hard to quantise.
"""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from classifier.model.encoders import Encoders
from dev.benchmark.ladder import small_ladder
from dev.weights import small_architecture, unfriendly
from export import pipeline
from export.errors import ExportError
from export.judging.material import (
    CALIBRATION_NOUNS,
    CALIBRATION_TEMPLATES,
    NOUNS,
    TEMPLATES,
    calibration_sentences,
    pictures,
    read_images,
    sentences,
)
from export.judging.verify import Reference, Served, judge

DIMENSION = 512
# CLIP ViT-B/32's scale, and the mean cosine between its embeddings of texts.
SCALE = 100
TEXT_COSINE = 0.77
Floats = NDArray[np.float32]


def directions(rng: np.random.Generator, count: int, mean: Floats, cosine: float) -> Floats:
    """Unit rows [count, d] with this mean cosine among each other, around the mean."""
    own = rng.standard_normal((count, DIMENSION))
    own -= (own @ mean)[:, None] * mean
    own /= np.linalg.norm(own, axis=1, keepdims=True)
    return np.asarray(np.sqrt(cosine) * mean + np.sqrt(1 - cosine) * own, np.float32)


def turned(rng: np.random.Generator, rows: Floats, cosine: float) -> Floats:
    """Each row turned in a random direction, to this cosine with itself."""
    noise = rng.standard_normal(rows.shape)
    noise -= (noise * rows).sum(1, keepdims=True) * rows
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    return np.asarray(cosine * rows + np.sqrt(1 - cosine**2) * noise, np.float32)


def geometry(seed: int) -> Reference:
    """Texts around one direction, images around another; an image leans to the nouns that it shows,
    as a trained CLIP's does.
    """
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.standard_normal((DIMENSION, 2)))[0].T.astype(np.float32)
    texts = directions(rng, len(sentences()), axes[0], TEXT_COSINE)
    images = directions(rng, 100, axes[1], 0.5)
    # Image and text have a cosine of about 0.2 to 0.3: the lean of an image to single texts
    # decides.
    lean = (
        texts[rng.integers(len(texts), size=(len(images), 4))].mean(1)
        - np.sqrt(TEXT_COSINE) * axes[0]
    )
    images += 0.25 * axes[0] + 0.5 * lean
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    return Reference([], sentences(), [], images.astype(np.float32), texts, SCALE)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("image_cosine", "text_cosine", "holds"),
    [
        (1, 1, True),
        (0.999997, 0.999997, True),
        (0.99997, 1, True),
        (0.998, 1, False),
        (1, 0.99, False),
        (0.9985, 0.963, False),
    ],
)
def test_the_gate_tells_good_embeddings_from_bad_ones(
    image_cosine: float, text_cosine: float, holds: bool, seed: int
) -> None:
    reference = geometry(seed)
    rng = np.random.default_rng(seed)
    served = Served(
        turned(rng, reference.images, image_cosine), turned(rng, reference.texts, text_cosine)
    )
    assert judge(served, reference).holds == holds


def test_images_that_always_go_wrong_fail_the_gate_however_many_others_are_right() -> None:
    reference = geometry(0)
    images = reference.images.copy()
    images[:3] = images[3:6]
    verdict = judge(Served(images, reference.texts), reference)
    assert verdict.equal > 0.97 and verdict.equal_at_least < verdict.equal and not verdict.holds


def test_where_fp32_decides_nothing_the_gate_holds_for_nothing() -> None:
    reference = geometry(0)
    alike = np.broadcast_to(reference.texts[:1], reference.texts.shape)
    undecided = Reference([], reference.sentences, [], reference.images, alike, SCALE)
    verdict = judge(Served(reference.images, alike), undecided)
    assert verdict.decided == 0 and not verdict.holds


def test_two_sentences_about_one_noun_never_compete() -> None:
    """Each noun's sentences are embedded alike: were two in a set, they would tie."""
    reference = geometry(0)
    nouns = len(reference.sentences) // 8
    texts = np.tile(reference.texts[:nouns], (8, 1))
    images = texts[np.arange(100) % nouns]
    verdict = judge(
        Served(images, texts), Reference([], reference.sentences, [], images, texts, SCALE)
    )
    # An image is one noun's own: whatever set holds that noun is decided by far.
    with_the_noun = 100 * 24 * 5 / nouns
    assert verdict.decided > 0.8 * with_the_noun


def test_images_to_calibrate_on_are_none_to_judge_on() -> None:
    judging = pictures(60)
    calibration = pictures(60, "calibration")
    assert not {picture.tobytes() for picture in judging} & {
        picture.tobytes() for picture in calibration
    }
    assert len({picture.tobytes() for picture in judging}) == 60


def test_sentences_to_calibrate_on_share_no_template_and_no_noun_with_those_to_judge_on() -> None:
    assert not {*TEMPLATES, *NOUNS} & {*CALIBRATION_TEMPLATES, *CALIBRATION_NOUNS}
    texts = calibration_sentences()
    assert len(set(texts)) == len(texts) == 160
    for template in CALIBRATION_TEMPLATES:
        begins, ends = template.split("{}")
        assert any(text.startswith(begins) and text.endswith(ends) for text in texts)


def test_every_tenth_picture_to_judge_on_is_far_from_a_photograph() -> None:
    def colours(picture: Image.Image) -> int:
        return len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0))

    few, flat, noise, negative = pictures(60)[10:50:10]
    assert colours(few) <= 8 and colours(flat) == 1
    values = np.asarray(noise, float)
    assert abs(np.corrcoef(values[1:].ravel(), values[:-1].ravel())[0, 1]) < 0.02
    assert colours(negative) > 1000
    assert all(colours(picture) > 8 for picture in pictures(60, "calibration"))


def test_own_images_are_refused_where_they_are_few_or_broken(tmp_path: Path) -> None:
    for i in range(19):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{i}.png")
    with pytest.raises(ExportError, match=r"holds 19 images.*at least 20"):
        read_images(tmp_path)
    (tmp_path / "20.jpg").write_bytes(b"no picture")
    with pytest.raises(ExportError, match=r"20\.jpg can't be read as an image"):
        read_images(tmp_path)


def test_unfriendly_weights_get_a_step_above_fp32_on_arm64_and_the_gate_holds(
    tmp_path: Path,
) -> None:
    steps, manifest = small_ladder(tmp_path, unfriendly(small_architecture()), "arm64", 60)
    fp32 = {
        encoder: (tmp_path / f"{encoder}.weights").stat().st_size for encoder in ("image", "text")
    }
    chosen, figures = steps.take("auto")
    assert "fp32" not in chosen.values()
    assert (
        float(figures["best_label_equal_at_least"]) >= 0.995
        and float(figures["change_99th_percentile"]) <= 0.02
    )
    # The fastest step was tried, and wasn't near enough; each encoder got smaller.
    assert float(figures["image_int8-full_change_99th_percentile"]) > 0.02
    assert "; 1 products of one row behind the pooling" in str(figures["image_in_fp32"])
    assert "; 1 that rotate what all layers see" in str(figures["image_in_fp32"])
    assert all(
        (tmp_path / f"{encoder}.weights").stat().st_size < size for encoder, size in fp32.items()
    )
    pipeline.write_settings(
        tmp_path, manifest.model_copy(update={"precision": chosen, "fidelity": figures})
    )
    encoders = Encoders.load(tmp_path, threads=1, verify_hashes=True)
    assert encoders.manifest.precision == chosen
    prompts = [[49406, i, 320 + i, 49407] for i in range(20)]
    together = encoders.encode_text(prompts)
    assert all(
        np.array_equal(encoders.encode_text([ids])[0], row)
        for ids, row in zip(prompts, together, strict=True)
    )
    images = list(np.random.default_rng(0).integers(0, 256, (9, 64, 64, 3), dtype=np.uint8))
    rows = encoders.encode_images(images)
    assert all(
        np.array_equal(encoders.encode_images([image])[0], row)
        for image, row in zip(images, rows, strict=True)
    )


def test_a_step_that_is_asked_for_is_taken_and_so_is_fp32(tmp_path: Path) -> None:
    steps, _ = small_ladder(tmp_path, unfriendly(small_architecture()), "x86_64", 20)
    assert steps.take("fp32")[0] == {"image": "fp32", "text": "fp32"}
    assert steps.take("int8-rows")[0] == {"image": "int8-rows", "text": "int8-rows"}
