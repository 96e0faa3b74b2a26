"""Holds a bundle against open_clip, through the run-time modules that will serve it."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from classifier.images.opened_image import open_image
from classifier.model.encoders import Encoders
from classifier.model.texts import beginnings
from classifier.model.tokenizer import Tokenizer
from export.errors import ExportError
from export.judging.material import NOUNS, TEMPLATES

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
LABELS, SETS = 5, 24  # labels in a set, label sets for an image
# A quantised bundle must decide as fp32 does if fp32 itself is decided: its best label leads by
# this much of probability.
MARGIN = 0.1
MIN_EQUAL = 0.995
MAX_CHANGE = 0.02
MIN_DECIDED = 200
CONFIDENCE = 0.95
RESAMPLES = 2_000


@dataclass(frozen=True)
class Reference:
    """open_clip's own pixels and embeddings of some images and sentences."""

    pictures: list[Image.Image]
    sentences: list[str]
    pixels: list[Pixels]
    images: Floats
    texts: Floats
    scale: float  # of the logits


@dataclass(frozen=True)
class Served:
    """The same through the run time."""

    images: Floats
    texts: Floats

    @classmethod
    def make(cls, encoders: Encoders, reference: Reference) -> "Served":
        tokenizer = Tokenizer(encoders.folder, encoders.manifest.text)
        texts = encoders.encode_text([tokenizer.encode(item) for item in reference.sentences])
        return cls(np.stack(encoders.encode_images(reference.pixels)), np.stack(texts))

    @property
    def both(self) -> tuple[Floats, Floats]:
        return self.images, self.texts


def check_pixels(encoders: Encoders, reference: Reference) -> int:
    """How many images, encoded without loss, gave open_clip's pixels to the last bit. Raises
    ExportError.
    """
    for i, (picture, expected) in enumerate(zip(reference.pictures, reference.pixels, strict=True)):
        file = io.BytesIO()
        picture.save(file, "PNG", compress_level=1)
        got = open_image(file.getvalue()).decode(encoders.manifest.image).squares[0]
        if not np.array_equal(got, expected):
            worst = int(np.abs(got.astype(int) - expected.astype(int)).max())
            raise ExportError(
                f"Image {i} of {picture.size} pixels is prepared differently from open_clip, by up"
                f" to {worst}."
            )
    return len(reference.pictures)


def check_fp32(served: Served, reference: Reference) -> dict[str, float]:
    """The least cosines with open_clip's embeddings and the largest change of a probability. Raises
    ExportError.
    """
    figures = {
        "fp32_least_image_cosine": float((served.images * reference.images).sum(1).min()),
        "fp32_least_text_cosine": float((served.texts * reference.texts).sum(1).min()),
        "fp32_largest_change": float(
            np.abs(
                _probabilities(reference, *served.both)
                - _probabilities(reference, reference.images, reference.texts)
            ).max()
        ),
    }
    if (
        min(figures["fp32_least_image_cosine"], figures["fp32_least_text_cosine"]) < 0.99999
        or figures["fp32_largest_change"] > 1e-3
    ):
        raise ExportError(f"The exported graphs disagree with open_clip: {figures}.")
    return {key: round(value, 8) for key, value in figures.items()}


@dataclass(frozen=True)
class Verdict:
    """What quantising changes for the caller.

    `decided`: how many pairs of an image and a label set fp32 decides; `equal`: the share of them
    with the same best label; `equal_at_least`: its lower 95 % bound, bootstrapped by image;
    `change`: the 99th percentile of a probability's change.
    """

    decided: int
    equal: float
    equal_at_least: float
    change: float
    image_cosine: float
    text_cosine: float

    @property
    def holds(self) -> bool:
        return (
            self.decided >= MIN_DECIDED
            and self.equal_at_least >= MIN_EQUAL
            and self.change <= MAX_CHANGE
        )

    def __str__(self) -> str:
        return (
            f"the same best label in {self.equal:.2%} of {self.decided:,} cases where fp32 is sure"
            f" (at least {self.equal_at_least:.2%}), 99 of 100 probabilities change by at most"
            f" {self.change:.4f}, cosines of {self.image_cosine:.5f} and more for images and"
            f" {self.text_cosine:.5f} for texts"
        )


def judge(served: Served, reference: Reference) -> Verdict:
    """Over random label sets, each of different nouns."""
    expected = _probabilities(reference, reference.images, reference.texts)
    result = _probabilities(reference, *served.both)
    runner_up, best = np.sort(expected, axis=-1)[..., -2:].transpose(2, 0, 1)
    decided = best - runner_up >= MARGIN
    equal = decided & (expected.argmax(-1) == result.argmax(-1))
    share = 0.0
    lower = 0.0
    if decided.any():
        share = float(equal.sum() / decided.sum())
        samples = np.random.default_rng(3).integers(len(decided), size=(RESAMPLES, len(decided)))
        totals = decided.sum(1)[samples].sum(1)
        shares = equal.sum(1)[samples].sum(1)[totals > 0] / totals[totals > 0]
        lower = float(np.quantile(shares, 1 - CONFIDENCE))
    return Verdict(
        int(decided.sum()),
        share,
        lower,
        float(np.quantile(np.abs(result - expected), 0.99)),
        float((served.images * reference.images).sum(1).min()),
        float((served.texts * reference.texts).sum(1).min()),
    )


def _probabilities(reference: Reference, images: Floats, texts: Floats) -> NDArray[np.float64]:
    """[images, SETS, labels]: those of the same label sets at every call."""
    rng = np.random.default_rng(9)
    by_noun = dict[str, list[int]]()
    nouns = {template.format(noun): noun for template in TEMPLATES for noun in NOUNS}
    for i, sentence in enumerate(reference.sentences):
        by_noun.setdefault(nouns.get(sentence, sentence), []).append(i)
    groups = list(by_noun.values())
    count = min(LABELS, len(by_noun))
    chosen = [
        [groups[g] for g in rng.choice(len(groups), count, replace=False)]
        for _ in range(len(images) * SETS)
    ]
    sets = np.array([[group[rng.integers(len(group))] for group in row] for row in chosen]).reshape(
        len(images), SETS, count
    )
    logits = reference.scale * np.take_along_axis(
        (images @ texts.T).astype(np.float64)[:, None], sets, 2
    )
    exponents = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities: NDArray[np.float64] = exponents / exponents.sum(-1, keepdims=True)
    return probabilities


def check_batch_invariance(
    encoders: Encoders, sentences: Sequence[str], pixels: Sequence[Pixels]
) -> None:
    """Raises ExportError if an embedding depends on what else is encoded in the run, or on what was
    made before.
    """
    tokenizer = Tokenizer(encoders.folder, encoders.manifest.text)
    ids = [tuple(tokenizer.encode(item)) for item in sentences]
    alone = [encoders.encode_text([item])[0] for item in ids]
    begun = frozenset(beginning for item in ids for beginning in beginnings(item))
    prompts = [
        np.array_equal(row, expected)
        for rows in (encoders.encode_text(ids), encoders.encode_text(ids, begun))
        for row, expected in zip(rows, alone, strict=True)
    ]
    images = [
        np.array_equal(encoders.encode_images([item])[0], row)
        for item, row in zip(pixels, encoders.encode_images(pixels), strict=True)
    ]
    if not all(prompts + images):
        raise ExportError(
            "A prompt's or an image's embedding depends on what is encoded together with it."
        )
