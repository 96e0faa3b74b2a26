"""Photographs, sentences and strings that bundles are calibrated and judged on."""

import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from classifier.storage.items import hidden
from export.errors import ExportError

# Judged on photographs that calibration never saw.
PHOTOGRAPHS = Path(__file__).with_name("pictures")
MIN_PICTURES = 20
FAR = 10
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
# None is judged on: a weight is rounded for what calibration saw, and callers have templates of
# their own.
CALIBRATION_TEMPLATES = (
    "a picture of the {}",
    "an image of two {}s",
    "{} in the rain",
    "my old {}",
    "close up: {}",
    "a painting of a {} by a child",
    "not a {}",
    "a screenshot of a {}",
    "a person with a {} outside",
    "{} at night, seen from far away",
    "is there a {}?",
    "the best {} in town",
    "a {} on a table next to a window",
    "black and white photograph of some {}",
    "{} for sale",
    "we took this picture of a {} two years ago when it was already dark",
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
    """The photographs of pictures/, then random regions of them, mirrored or blended with
    another one half of the time each. Every tenth to judge on is far from a photograph.
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
        if part == "judging" and len(result) % FAR == 0:
            picture = far(picture, len(result) // FAR)
        result.append(picture)
    return result[:count]


def far(picture: Image.Image, kind: int) -> Image.Image:
    """Its negative, few colours of it, one colour of it, or noise, in turns."""
    rng = np.random.default_rng(kind)
    changes: list[Callable[[], Image.Image]] = [
        lambda: ImageOps.invert(picture),
        lambda: ImageOps.posterize(picture, 1),
        lambda: picture.resize((1, 1)).resize(picture.size),
        lambda: Image.fromarray(rng.integers(0, 256, (*picture.size[::-1], 3), dtype=np.uint8)),
    ]
    return changes[kind % len(changes)]()


def read_images(folder: Path) -> list[Image.Image]:
    """The user's own, to judge on. Raises ExportError."""
    files = sorted(
        path
        for path in folder.expanduser().glob("*")
        if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp") and not hidden(path.name)
    )
    if len(files) < MIN_PICTURES:
        raise ExportError(
            f"{folder} holds {len(files)} images (jpg, jpeg, png, webp); at least {MIN_PICTURES}"
            " are needed to judge."
        )
    result = []
    for path in files:
        try:
            with Image.open(path) as image:
                result.append(image.convert("RGB"))
        except OSError as err:
            raise ExportError(f"{path} can't be read as an image: {err}.") from err
    return result


def sentences() -> list[str]:
    return [template.format(noun) for template in TEMPLATES for noun in NOUNS]


def calibration_sentences() -> list[str]:
    """Each noun in eight templates, none of which is judged on."""
    return [
        CALIBRATION_TEMPLATES[(i + 2 * j) % len(CALIBRATION_TEMPLATES)].format(noun)
        for i, noun in enumerate(CALIBRATION_NOUNS)
        for j in range(8)
    ]


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
