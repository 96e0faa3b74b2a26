"""The demo model's world: pictures that can be drawn, and what is true of them in words.

Emoji come from Debian's `fonts-noto-color-emoji`, their names and groups from Unicode's
emoji-test.txt (`unicode-data`), their keywords from CLDR (`unicode-cldr-core`). Coloured shapes in
numbers are drawn here.
"""

import io
import math
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

SIZE = 64
FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
EMOJI_TEST = Path("/usr/share/unicode/emoji/emoji-test.txt")
CLDR = Path("/usr/share/unicode/cldr/common/annotations/en.xml")

COLOURS = {
    "red": (214, 32, 38),
    "orange": (245, 137, 28),
    "yellow": (250, 221, 44),
    "green": (44, 155, 66),
    "blue": (38, 84, 205),
    "purple": (132, 48, 168),
    "pink": (248, 150, 190),
    "brown": (122, 74, 38),
    "black": (18, 18, 20),
    "white": (246, 246, 246),
}
SHAPES = ("circle", "square", "triangle", "star", "diamond", "cross", "ring", "hexagon")
NUMBERS = ("one", "two", "three", "four", "five")
PAIRS = [(colour, shape) for colour in COLOURS for shape in SHAPES]
# What each part of Shapes can be.
PARTS = (range(1, len(NUMBERS) + 1), tuple(COLOURS), SHAPES, tuple(COLOURS))
HELD_OUT_PAIRS = [
    pair for i, pair in enumerate(PAIRS) if (3 * (i // len(SHAPES)) + i) % len(SHAPES) == 5
]

# The start of a subgroup's name in emoji-test.txt, and what people would call the subgroup.
KINDS = {
    "face-": "a face",
    "cat-face": "a cat",
    "monkey-face": "a monkey",
    "heart": "a heart",
    "hand": "a hand",
    "person": "a person",
    "person-sport": "a person doing sport",
    "family": "people",
    "body-parts": "a part of the body",
    "animal-": "an animal",
    "animal-mammal": "a mammal",
    "animal-bird": "a bird",
    "animal-marine": "a sea animal",
    "animal-bug": "an insect",
    "animal-reptile": "a reptile",
    "plant-": "a plant",
    "plant-flower": "a flower",
    "food-": "food",
    "food-fruit": "a fruit",
    "food-vegetable": "a vegetable",
    "food-sweet": "a sweet",
    "food-asian": "Asian food",
    "drink": "a drink",
    "dishware": "dishware",
    "place-building": "a building",
    "place-religious": "a religious building",
    "place-": "a place",
    "transport-": "transport",
    "transport-ground": "a land vehicle",
    "transport-water": "a boat",
    "transport-air": "an aircraft",
    "sky & weather": "the weather",
    "time": "a clock",
    "event": "a celebration",
    "award-medal": "an award",
    "sport": "a sport",
    "game": "a game",
    "clothing": "clothes",
    "sound": "sound",
    "music": "music",
    "musical-instrument": "a musical instrument",
    "phone": "a phone",
    "computer": "a computer",
    "book-paper": "paper",
    "money": "money",
    "mail": "mail",
    "writing": "something to write with",
    "office": "an office supply",
    "lock": "a lock",
    "tool": "a tool",
    "science": "science",
    "medical": "medicine",
    "household": "something in the house",
    "arrow": "an arrow",
    "zodiac": "a zodiac sign",
    "religion": "a religious symbol",
    "math": "mathematics",
    "punctuation": "punctuation",
    "av-symbol": "a media button",
    "alphanum": "letters or digits",
    "warning": "a warning sign",
    "transport-sign": "a sign",
}
WORDINGS = (
    "{}",
    "{}",
    "{}",
    "{a}",
    "{a}",
    "{a}",
    "the {}",
    "a picture of {a}",
    "a photo of {a}",
    "a photo of {a}",
    "a drawing of {a}",
    "an image of {a}",
    "an emoji of {a}",
    "this is {a}",
    "this is a photo of {}",
    "a picture of {}",
    "there is {a} in the picture",
    "a picture with {a} in it",
    "a photo containing {a}",
    "a thumbnail of {a}",
    "{a} on a plain background",
    "a small {}",
    "one {}",
)
NEGATIVE_WORDINGS = (
    "no {}",
    "no {}",
    "no {a}",
    "without {a}",
    "not {a}",
    "there is no {}",
    "a picture of no {}",
    "a picture without {a}",
    "a photo of no {}",
)
NEUTRAL = (
    "something else",
    "something else",
    "a picture of something else",
    "anything else",
    "other",
    "neutral",
    "nothing special",
)


@dataclass(frozen=True)
class Emoji:
    """One drawable emoji: its characters, its name, and all other words that are true of it."""

    characters: str
    name: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Shapes:
    """`number` equal shapes on a background; None leaves a part open when this is what a caption
    asks for.
    """

    number: int | None
    colour: str | None
    shape: str | None
    background: str | None

    def phrase(self) -> str:
        plural = self.number not in (None, 1)
        noun = (self.shape or "shape") + (
            "es" if plural and self.shape == "cross" else "s" if plural else ""
        )
        words = [NUMBERS[self.number - 1]] if self.number and plural else []
        words += [self.colour] if self.colour else []
        text = with_article(" ".join([*words, noun])) if not plural else " ".join([*words, noun])
        return text + (f" on {with_article(self.background)} background" if self.background else "")

    def matches(self, other: "Shapes") -> bool:
        return all(b is None or a == b for a, b in zip(self.parts(), other.parts(), strict=True))

    def parts(self) -> tuple[int | None, str | None, str | None, str | None]:
        return self.number, self.colour, self.shape, self.background


Facts = frozenset[int] | Shapes  # which emoji are in a picture, or which shapes
Concept = tuple[str, Facts]  # a phrase and the emoji of which it is true, or the shapes it asks for


def with_article(noun: str) -> str:
    if re.match(
        r"(a|an|the|two|three|four|five|food|people|transport|music|money|mail|clothes|something|\d)\b",
        noun,
        re.I,
    ):
        return noun
    return ("an " if noun[0].lower() in "aeiou" else "a ") + noun


def is_true(concept: Concept, facts: Facts) -> bool:
    meant = concept[1]
    if isinstance(meant, Shapes):
        return isinstance(facts, Shapes) and facts.matches(meant)
    return not isinstance(facts, Shapes) and not meant.isdisjoint(facts)


def word(concept: Concept, rng: np.random.Generator, wordings: tuple[str, ...] = WORDINGS) -> str:
    """The concept in one of the wordings; a phrase that brings its own article keeps it."""
    phrase = concept[0]
    bare = re.sub(r"^(an?|the) ", "", phrase)
    return (
        wordings[int(rng.integers(len(wordings)))]
        .replace("{a}", with_article(phrase))
        .replace("{}", bare)
    )


@cache
def emoji() -> list[Emoji]:
    """Fully-qualified emoji without flags, skin tones, joined sequences, keycaps and geometric
    figures, in Unicode's order.
    """
    keywords = dict(
        re.findall(r'<annotation cp="([^"]+)">([^<]+)<', CLDR.read_text(encoding="utf-8"))
    )
    result = []
    subgroup = ""
    for line in EMOJI_TEST.read_text(encoding="utf-8").partition("# group: Flags")[0].splitlines():
        if line.startswith("# subgroup:"):
            subgroup = line[12:]
        match = re.match(r"([0-9A-F ]+?) +; fully-qualified +# \S+ E[\d.]+ (.*)", line)
        if (
            not match
            or "skin tone" in line
            or "200D" in match[1]
            or subgroup in ("keycap", "geometric")
        ):
            continue
        characters = "".join(chr(int(code, 16)) for code in match[1].split())
        words = keywords.get(characters.replace("\ufe0f", ""), "").split(" | ")
        kinds = [
            kind
            for start, kind in KINDS.items()
            if subgroup == start or (start[-1] == "-" and subgroup.startswith(start))
        ]
        kinds += ["a person"] if subgroup.startswith("person") else []
        name = match[2].replace("’", "'")
        words = {
            w.replace("’", "'")
            for w in words
            if len(w) > 1 and w not in SHAPES and w not in COLOURS
        } - {name}
        result.append(Emoji(characters, name, (*sorted(words), *kinds)))
    return result


@cache
def concepts() -> tuple[list[Concept], list[list[Concept]]]:
    """The name of each emoji, and for each emoji every other concept that is true of it."""
    having = defaultdict(set)
    for i, item in enumerate(emoji()):
        for text in (item.name, *item.words):
            having[text].add(i)
    names: list[Concept] = [(item.name, frozenset(having[item.name])) for item in emoji()]
    return names, [[(text, frozenset(having[text])) for text in item.words] for item in emoji()]


@cache
def sprites(index: int) -> list[Image.Image]:
    """The emoji at 136, 68 and 34 pixels: drawing from the next larger one keeps small ones from
    aliasing.
    """
    font = ImageFont.truetype(str(FONT), 109)
    left, top, right, bottom = font.getbbox(emoji()[index].characters)
    full = Image.new("RGBA", (136, 136), (128, 128, 128, 0))
    corner = (68 - (left + right) / 2, 68 - (top + bottom) / 2)
    ImageDraw.Draw(full).text(corner, emoji()[index].characters, font=font, embedded_color=True)
    return [full, full.reduce(2), full.reduce(4)]


def paste(
    canvas: Image.Image,
    index: int,
    centre: tuple[float, float],
    side: float,
    degrees: float,
    mirror: bool,
) -> None:
    level = next((s for s in reversed(sprites(index)) if s.width >= side), sprites(index)[0])
    scale = level.width / side
    cos = math.cos(math.radians(degrees)) * scale
    sin = math.sin(math.radians(degrees)) * scale
    flip = -1 if mirror else 1
    x, y, half = *centre, level.width / 2
    affine = (
        flip * cos,
        flip * sin,
        half - flip * (cos * x + sin * y),
        -sin,
        cos,
        half + sin * x - cos * y,
    )
    drawn = level.transform(canvas.size, Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR)
    canvas.paste(drawn, (0, 0), drawn)


def background(rng: np.random.Generator, size: int = SIZE) -> Image.Image:
    """Plain colours (half of all, often white), gradients, soft blotches, stripes and noise."""
    kind = rng.random()
    if kind < 0.2:
        return Image.new("RGB", (size, size), (255, 255, 255))
    first, second = rng.integers(0, 256, (2, 3))
    if kind < 0.5:
        return Image.new("RGB", (size, size), tuple(int(v) for v in first))
    if kind < 0.7:
        cells = rng.integers(
            0, 256, (int(rng.integers(2, 6)), int(rng.integers(2, 6)), 3), dtype=np.uint8
        )
        return Image.fromarray(cells).resize((size, size), Image.Resampling.BICUBIC)
    y, x = np.mgrid[0:size, 0:size] / size
    turn = rng.uniform(0, 2 * math.pi)
    wave = math.cos(turn) * x + math.sin(turn) * y
    if kind < 0.85:
        mix = (wave - wave.min()) / np.ptp(wave)
    elif kind < 0.95:
        mix = np.sin(wave * rng.uniform(10, 50)) > 0
    else:
        mix = rng.random((size, size))
    return Image.fromarray((first + (second - first) * mix[..., None]).astype(np.uint8))


def corners(shape: str, x: float, y: float, r: float, turn: float) -> list[tuple[float, float]]:
    count = {"triangle": 3, "square": 4, "diamond": 4, "hexagon": 6, "star": 10, "cross": 12}[shape]
    radii = [
        r * (0.42 if shape == "star" and i % 2 else 0.7 if shape == "diamond" and i % 2 else 1.0)
        for i in range(count)
    ]
    angles = [turn + 2 * math.pi * i / count for i in range(count)]
    if shape == "square":
        angles = [a + math.pi / 4 for a in angles]
    if shape == "cross":
        arm = 0.33
        flat = [
            (1, -arm),
            (1, arm),
            (arm, arm),
            (arm, 1),
            (-arm, 1),
            (-arm, arm),
            (-1, arm),
            (-1, -arm),
            (-arm, -arm),
            (-arm, -1),
            (arm, -1),
            (arm, -arm),
        ]
        radii = [r * 0.95 * math.hypot(*p) for p in flat]
        angles = [turn + math.atan2(b, a) for a, b in flat]
    return [(x + q * math.sin(a), y - q * math.cos(a)) for q, a in zip(radii, angles, strict=True)]


def draw_shapes(rng: np.random.Generator, facts: Shapes, size: int = SIZE) -> Image.Image:
    zoom = 4

    def near(name: str) -> tuple[int, ...]:
        return tuple(
            int(v) for v in np.clip(np.array(COLOURS[name]) + rng.integers(-14, 15, 3), 0, 255)
        )

    assert facts.number and facts.colour and facts.shape and facts.background
    canvas = Image.new("RGB", (size * zoom, size * zoom), near(facts.background))
    pen = ImageDraw.Draw(canvas)
    colour = near(facts.colour)
    across = 1 if facts.number == 1 else 2 if facts.number <= 4 else 3
    cells = rng.permutation(across * across)[: facts.number]
    cell = size * zoom / across
    for place in cells:
        r = cell * rng.uniform(0.28, 0.46)
        x, y = (
            cell * (p + 0.5) + rng.uniform(-1, 1) * (cell / 2 - r)
            for p in (place % across, place // across)
        )
        if facts.shape in ("circle", "ring"):
            pen.ellipse(
                (x - r, y - r, x + r, y + r),
                **({"fill": colour} if facts.shape == "circle" else {}),
                outline=colour,
                width=max(1, int(r * 0.3)),
            )
        else:
            pen.polygon(corners(facts.shape, x, y, r, rng.normal(0, 0.12)), fill=colour)
    return canvas.reduce(zoom)


def degrade(rng: np.random.Generator, picture: Image.Image) -> np.ndarray:
    """Adds at random a colour cast, blur, noise and JPEG artefacts."""
    if rng.random() < 0.25:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.9)))
    pixels = np.asarray(picture, np.float32)
    if rng.random() < 0.7:
        pixels = pixels * rng.normal(1, 0.07, 3).astype(np.float32) + rng.normal(0, 6)
    if rng.random() < 0.3:
        pixels = pixels + rng.normal(0, rng.uniform(2, 10), pixels.shape).astype(np.float32)
    degraded = np.clip(pixels, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        file = io.BytesIO()
        Image.fromarray(degraded).save(file, "JPEG", quality=int(rng.integers(40, 95)))
        degraded = np.asarray(Image.open(file))
    return degraded


def picture_of(rng: np.random.Generator, facts: Facts) -> np.ndarray:
    """A new picture of the facts: uint8 [64, 64, 3]. One emoji takes 45 to 100 % of the side,
    several share it.
    """
    if isinstance(facts, Shapes):
        return degrade(rng, draw_shapes(rng, facts))
    canvas = background(rng)
    if len(facts) == 1:
        side = SIZE * rng.uniform(0.45, 1.0)
        slack = (SIZE - side) / 2 + 3
        centres = [SIZE / 2 + rng.uniform(-slack, slack, 2)]
    else:
        side = SIZE * rng.uniform(0.4, 0.55)
        cells = rng.permutation(4)[: len(facts)]
        centres = [
            SIZE * (np.array([c % 2, c // 2]) * 0.5 + 0.25) + rng.uniform(-3, 3, 2) for c in cells
        ]
    for index, centre in zip(facts, centres, strict=True):
        paste(
            canvas,
            index,
            tuple(centre),
            side * rng.uniform(0.9, 1.1),
            rng.normal(0, 12),
            rng.random() < 0.2,
        )
    return degrade(rng, canvas)


def random_shapes(rng: np.random.Generator, pairs: list[tuple[str, str]]) -> Shapes:
    colour, shape = pairs[int(rng.integers(len(pairs)))]
    others = [name for name in COLOURS if name != colour]
    return Shapes(int(rng.integers(1, 6)), colour, shape, others[int(rng.integers(len(others)))])


def random_facts(rng: np.random.Generator, pairs: list[tuple[str, str]]) -> Facts:
    """63 % one emoji, 15 % two to four, 22 % shapes of the given pairs."""
    kind = rng.random()
    if kind < 0.22:
        return random_shapes(rng, pairs)
    count = 1 if kind < 0.85 else int(rng.integers(2, 5))
    return frozenset(int(i) for i in rng.choice(len(emoji()), count, replace=False))


def random_concept(rng: np.random.Generator, facts: Facts) -> Concept:
    """Something true of the facts: an emoji by name (60 %) or another of its words, or shapes with
    parts left open.
    """
    if isinstance(facts, Shapes):
        number = rng.random() < 0.6
        background = rng.random() < 0.4
        colour = rng.random() < 0.85
        meant = Shapes(
            facts.number if number or not colour else None,
            facts.colour if colour else None,
            facts.shape if rng.random() < 0.9 else None,
            facts.background if background else None,
        )
        return meant.phrase(), meant
    names, others = concepts()
    index = list(facts)[int(rng.integers(len(facts)))]
    if rng.random() < 0.6 or not others[index]:
        return names[index]
    return others[index][int(rng.integers(len(others[index])))]


def average_precision(scores: NDArray[np.floating[Any]], present: NDArray[np.bool_]) -> float:
    """How well scores [n] put what is present [n] first."""
    ranked = present[np.argsort(-scores, kind="stable")]
    return float((np.cumsum(ranked) / np.arange(1, len(ranked) + 1))[ranked].mean())
