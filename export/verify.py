"""Holds a bundle against open_clip, through the run-time modules that will serve it."""

import io
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from classifier.images.opened_image import open_image
from classifier.model.encoders import Encoders
from classifier.model.tokenizer import Tokenizer
from classifier.storage.items import hidden
from export.errors import ExportError

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
# Judged on photographs that calibration never saw.
PHOTOGRAPHS = Path(__file__).with_name("pictures")
LABELS, SETS = 5, 24  # labels in a set, label sets for a picture
# A quantised bundle must decide as fp32 does, where fp32 itself is decided: its best label leads by
# this much of probability.
MARGIN = 0.1
MIN_EQUAL = 0.995
MAX_CHANGE = 0.02
MIN_DECIDED = 200
MIN_PICTURES = 20
CONFIDENCE = 0.95
RESAMPLES = 2_000
NOUNS = (
    "woman",
    "astronaut",
    "cat",
    "cup of coffee",
    "rocket",
    "dog",
    "car",
    "street at night",
    "mountain",
    "plate of food",
    "horse",
    "crowd",
    "logo",
    "football match",
    "video game",
    "concert",
    "child",
    "document",
    "boat",
    "flower",
)
TEMPLATES = (
    "{}",
    "a photo of a {}",
    "a blurry picture of one {} in bad light",
    "a drawing of a {}",
    "no {}",
    "a thumbnail with a {} in it",
    "this is a {}.",
    "the {} that we saw on a long walk last summer, somewhere in the hills above the lake",
)


CALIBRATION_NOUNS = (
    "man",
    "bird",
    "tree",
    "pair of shoes",
    "train",
    "river",
    "kitchen",
    "phone",
    "red dress",
    "bowl of soup",
    "snake",
    "chart",
    "bicycle",
    "office",
    "sunset",
    "baby",
    "guitar",
    "sword",
    "map",
    "statue",
)


def pictures(count: int, part: str = "judging") -> list[Image.Image]:
    """The photographs of export/pictures, then random regions of them, mirrored or blended with
    another one half of the time each.
    """
    whole = []
    for path in sorted((PHOTOGRAPHS / part).glob("*.jpg")):
        with Image.open(path) as image:
            whole.append(image.convert("RGB"))
    rng = np.random.default_rng(5)
    result = list(whole)

    def region(image: Image.Image) -> Image.Image:
        width, height = (int(side * rng.uniform(0.2, 1)) for side in image.size)
        left = int(rng.integers(image.width - width + 1))
        top = int(rng.integers(image.height - height + 1))
        return image.crop((left, top, left + width, top + height))

    while len(result) < count:
        picture = region(whole[len(result) % len(whole)])
        if rng.random() < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if rng.random() < 0.5:
            other = region(whole[int(rng.integers(len(whole)))]).resize(picture.size)
            picture = Image.blend(picture, other, float(rng.uniform(0.1, 0.5)))
        result.append(picture)
    return result[:count]


def read_pictures(folder: Path) -> list[Image.Image]:
    """The user's own, to judge on. Raises ExportError."""
    files = sorted(
        path
        for path in folder.expanduser().glob("*")
        if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp") and not hidden(path.name)
    )
    if len(files) < MIN_PICTURES:
        raise ExportError(
            f"{folder} holds {len(files)} pictures (jpg, jpeg, png, webp); at least {MIN_PICTURES}"
            " are needed to judge."
        )
    result = []
    for path in files:
        try:
            with Image.open(path) as image:
                result.append(image.convert("RGB"))
        except OSError as err:
            raise ExportError(f"{path} can't be read as a picture: {err}.") from err
    return result


def sentences() -> list[str]:
    return [template.format(noun) for template in TEMPLATES for noun in NOUNS]


def calibration_sentences() -> list[str]:
    """Each template with five nouns, none of which is judged on."""
    return [
        TEMPLATES[(i + shift) % len(TEMPLATES)].format(noun)
        for i, noun in enumerate(CALIBRATION_NOUNS)
        for shift in (0, 3)
    ]


@dataclass(frozen=True)
class Reference:
    """open_clip's own pixels and embeddings of some pictures and sentences."""

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
    """How many pictures, encoded without loss, gave open_clip's pixels to the last bit. Raises
    ExportError.
    """
    for i, (picture, expected) in enumerate(zip(reference.pictures, reference.pixels, strict=True)):
        file = io.BytesIO()
        picture.save(file, "PNG", compress_level=1)
        got = open_image(file.getvalue()).decode(encoders.manifest.image).squares[0]
        if not np.array_equal(got, expected):
            worst = int(np.abs(got.astype(int) - expected.astype(int)).max())
            raise ExportError(
                f"Picture {i} of {picture.size} pixels is prepared differently from open_clip, by"
                f" up to {worst}."
            )
    return len(reference.pictures)


def strings() -> Iterator[str]:
    """Without end: words, sentences, entities, contractions, emoji, control characters, all
    scripts, long ones, any code points.
    """
    rng = random.Random(7)  # noqa: S311
    points = [c for c in range(sys.maxunicode + 1) if not 0xD800 <= c <= 0xDFFF]
    blocks = [
        (0x20, 0x7F),
        (0xA0, 0x250),
        (0x370, 0x530),
        (0x590, 0x700),
        (0x900, 0xE80),
        (0x1100, 0x1200),
        (0x2000, 0x2C00),
        (0x3040, 0x3100),
        (0x4E00, 0x9FFF),
        (0xAC00, 0xD7A4),
        (0xFB00, 0xFE10),
        (0xFF00, 0xFFF0),
        (0x1F300, 0x1FAFF),
        (0, 0x20),
    ]
    pieces = [
        "'s",
        "'LL",
        "&amp;",
        "&lt;",
        "&#39;",
        "&copy",
        "&amp;amp;",
        "<end_of_text>",
        "é",
        "e\u0301",
        "\u200d",
        "\ufe0f",
        "\xa0",
        "\n\t",
        "dog",
        "Dogs",
        "PHOTO",
        "3.14",
        "½",
        "ﬁ",
        "ſ",
        "İ",
        "K",
        "â€™",
        "Ã©",
        "…",
        "--",
        "__",
        "1234",
        "#",
        "👩‍🚀",
        "🇩🇪",
    ]
    kinds: list[Callable[[], str]] = [
        lambda: "".join(chr(rng.choice(points)) for _ in range(rng.randint(1, 30))),
        lambda: "".join(rng.choice([*pieces, " "]) for _ in range(rng.randint(1, 14))),
        lambda: " ".join(rng.choice([*NOUNS, *pieces]) for _ in range(rng.randint(1, 12))),
        lambda: "".join(
            chr(rng.randrange(*block))
            for block in [rng.choice(blocks)]
            for _ in range(rng.randint(1, 40))
        ),
        lambda: "".join(chr(rng.randrange(*rng.choice(blocks))) for _ in range(rng.randint(1, 25))),
        lambda: "".join(
            rng.choice("abcdefghijklmnopqrstuvwxyz ") for _ in range(rng.randint(1, 300))
        ),
        lambda: (
            rng.choice([" ", "\n", "&nbsp;"]) * rng.randint(0, 150)
            + rng.choice(NOUNS) * rng.randint(1, 20)
        ),
    ]
    while True:
        yield from (kind() for kind in kinds)


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

    `decided`: how many pairs of a picture and a label set fp32 decides; `equal`: the share of them
    with the same best label; `equal_at_least`: its lower 95 % bound, bootstrapped by picture;
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
            f"best label equal in {self.equal:.2%} of {self.decided} decided pairs (at least"
            f" {self.equal_at_least:.2%}), 99th percentile of change {self.change:.4f}, least"
            f" cosine of images {self.image_cosine:.5f}, of texts {self.text_cosine:.5f}"
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
    """[pictures, SETS, labels]: those of the same label sets at every call."""
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
    """Raises ExportError where an embedding depends on its company."""
    tokenizer = Tokenizer(encoders.folder, encoders.manifest.text)
    ids = [tokenizer.encode(item) for item in sentences]
    prompts = [
        np.array_equal(encoders.encode_text([item])[0], row)
        for item, row in zip(ids, encoders.encode_text(ids), strict=True)
    ]
    images = [
        np.array_equal(encoders.encode_images([item])[0], row)
        for item, row in zip(pixels, encoders.encode_images(pixels), strict=True)
    ]
    if not all(prompts + images):
        raise ExportError(
            "A prompt's or an image's embedding depends on what is encoded beside it."
        )
