"""Holds a bundle against open_clip, through the run-time modules that will serve it."""

import io
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from classifier.encoders import Encoders
from classifier.image import open_image
from classifier.scoring import similarities, softmax
from classifier.tokenizer import Tokenizer
from export.errors import ExportError

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
# Others, to learn from what activations reach, so that judging stays on what was never seen.
CALIBRATION = ("camera", "hubble_deep_field", "retina", "coins", "page", "grass", "moon", "colorwheel", "immunohistochemistry")
PAIRS = 2_400
LABELS = 5
# A bundle of 8 bits must decide as open_clip does: bounds on what changes for the caller, not on a cosine.
MIN_BEST_EQUAL = 0.99
MAX_CHANGE = 0.02
NOUNS = ("woman", "astronaut", "cat", "cup of coffee", "rocket", "dog", "car", "street at night", "mountain", "plate of food", "horse",
         "crowd", "logo", "football match", "video game", "concert", "child", "document", "boat", "flower")  # fmt: skip
TEMPLATES = ("{}", "a photo of a {}", "a blurry picture of one {} in bad light", "a drawing of a {}", "no {}", "a thumbnail with a {} in it",
             "this is a {}.", "the {} that we saw on a long walk last summer, somewhere in the hills above the lake")  # fmt: skip


def crops(count: int, names: Sequence[str] = PHOTOGRAPHS) -> list[Image.Image]:
    """The photographs, and random regions of them, from a tenth of their side to all of it."""
    import skimage

    found = [Image.fromarray(getattr(skimage.data, name)()).convert("RGB") for name in names]
    rng = np.random.default_rng(5)
    while len(found) < count:
        whole = found[len(found) % len(names)]
        width, height = (int(side * rng.uniform(0.1, 1)) for side in whole.size)
        left, top = int(rng.integers(whole.width - width + 1)), int(rng.integers(whole.height - height + 1))
        found.append(whole.crop((left, top, left + width, top + height)))
    return found[:count]


def sentences() -> list[str]:
    return [template.format(noun) for template in TEMPLATES for noun in NOUNS]


@dataclass(frozen=True)
class Reference:
    """open_clip's own pixels and embeddings of some pictures and sentences."""

    pictures: list[Image.Image]
    sentences: list[str]
    pixels: list[Pixels]
    images: Floats
    texts: Floats
    scale: float


@dataclass(frozen=True)
class Served:
    """The same through the run time."""

    images: Floats
    texts: Floats

    @classmethod
    def make(cls, encoders: Encoders, reference: Reference) -> "Served":
        tokenizer = Tokenizer(encoders.folder, encoders.manifest.text)
        texts = encoders.encode_text([tokenizer.encode(one) for one in reference.sentences])
        return cls(np.stack(encoders.encode_images(reference.pixels)), np.stack(texts))


def check_pixels(encoders: Encoders, reference: Reference) -> int:
    """How many pictures, encoded without loss, gave open_clip's pixels to the last bit. Raises ExportError."""
    for i, (picture, expected) in enumerate(zip(reference.pictures, reference.pixels, strict=True)):
        file = io.BytesIO()
        picture.save(file, "PNG", compress_level=1)
        got = open_image(file.getvalue()).pixels(encoders.manifest.image)[0]
        if not np.array_equal(got, expected):
            worst = int(np.abs(got.astype(int) - expected.astype(int)).max())
            raise ExportError(f"Picture {i} of {picture.size} pixels is prepared differently from open_clip, by up to {worst}.")
    return len(reference.pictures)


def strings() -> Iterator[str]:
    """Without end: words, sentences, entities, contractions, emoji, control characters, all scripts, long ones, any code points."""
    rng = random.Random(7)  # noqa: S311
    points = [c for c in range(sys.maxunicode + 1) if not 0xD800 <= c <= 0xDFFF]
    blocks = [(0x20, 0x7F), (0xA0, 0x250), (0x370, 0x530), (0x590, 0x700), (0x900, 0xE80), (0x1100, 0x1200), (0x2000, 0x2C00),
              (0x3040, 0x3100), (0x4E00, 0x9FFF), (0xAC00, 0xD7A4), (0xFB00, 0xFE10), (0xFF00, 0xFFF0), (0x1F300, 0x1FAFF), (0, 0x20)]  # fmt: skip
    pieces = ["'s", "'LL", "&amp;", "&lt;", "&#39;", "&copy", "&amp;amp;", "<end_of_text>", "é", "e\u0301", "\u200d", "\ufe0f", "\xa0", "\n\t",
              "dog", "Dogs", "PHOTO", "3.14", "½", "ﬁ", "ſ", "İ", "K", "â€™", "Ã©", "…", "--", "__", "1234", "#", "👩‍🚀", "🇩🇪"]  # fmt: skip
    kinds: list[Callable[[], str]] = [
        lambda: "".join(chr(rng.choice(points)) for _ in range(rng.randint(1, 30))),
        lambda: "".join(rng.choice([*pieces, " "]) for _ in range(rng.randint(1, 14))),
        lambda: " ".join(rng.choice([*NOUNS, *pieces]) for _ in range(rng.randint(1, 12))),
        lambda: "".join(chr(rng.randrange(*block)) for block in [rng.choice(blocks)] for _ in range(rng.randint(1, 40))),
        lambda: "".join(chr(rng.randrange(*rng.choice(blocks))) for _ in range(rng.randint(1, 25))),
        lambda: "".join(rng.choice("abcdefghijklmnopqrstuvwxyz ") for _ in range(rng.randint(1, 300))),
        lambda: rng.choice([" ", "\n", "&nbsp;"]) * rng.randint(0, 4_000) + rng.choice(NOUNS) * rng.randint(1, 20),
    ]
    while True:
        yield from (kind() for kind in kinds)


def check_fp32(served: Served, reference: Reference) -> dict[str, float]:
    """The least cosines with open_clip's embeddings and the largest change of a probability. Raises ExportError."""
    found = {
        "fp32_least_image_cosine": float((served.images * reference.images).sum(1).min()),
        "fp32_least_text_cosine": float((served.texts * reference.texts).sum(1).min()),
        "fp32_largest_change": float(_changes(served, reference)[1].max()),
    }
    if min(found["fp32_least_image_cosine"], found["fp32_least_text_cosine"]) < 0.99999 or found["fp32_largest_change"] > 1e-3:
        raise ExportError(f"The exported graphs disagree with open_clip: {found}.")
    return {key: round(value, 8) for key, value in found.items()}


def decisions(served: Served, reference: Reference) -> tuple[float, float]:
    """The share of equal best labels, and the 99th percentile of a probability's change, over pairs of pictures and label sets."""
    equal, changes = _changes(served, reference)
    return float(equal.mean()), float(np.quantile(changes, 0.99))


def within_tolerance(figures: tuple[float, float]) -> bool:
    return figures[0] >= MIN_BEST_EQUAL and figures[1] <= MAX_CHANGE


def _changes(served: Served, reference: Reference) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    rng, equal, changes = np.random.default_rng(9), [], []
    for pair in range(PAIRS):
        i = pair % len(reference.images)
        labels = rng.choice(len(reference.texts), LABELS, replace=False)
        mine = _probabilities(served.images[i], served.texts[labels], reference.scale)
        theirs = _probabilities(reference.images[i], reference.texts[labels], reference.scale)
        equal.append(mine.argmax() == theirs.argmax())
        changes.append(np.abs(mine - theirs))
    return np.array(equal), np.concatenate(changes)


def _probabilities(image: Floats, texts: Floats, scale: float) -> NDArray[np.float64]:
    return np.array(softmax(scale * similarities(texts, image)))


def check_batch_invariance(encoders: Encoders, sentences: Sequence[str], pixels: Sequence[Pixels]) -> None:
    """Raises ExportError where an embedding depends on its company."""
    tokenizer = Tokenizer(encoders.folder, encoders.manifest.text)
    ids = [tokenizer.encode(one) for one in sentences]
    prompts = [
        np.array_equal(encoders.encode_text([one])[0], row) for one, row in zip(ids, encoders.encode_text(ids), strict=True)
    ]
    images = [
        np.array_equal(encoders.encode_images([one])[0], row)
        for one, row in zip(pixels, encoders.encode_images(pixels), strict=True)
    ]
    if not all(prompts + images):
        raise ExportError("A prompt's or an image's embedding depends on what is encoded beside it.")
