"""Coloured shapes in numbers, and how they are named."""

import re
from dataclasses import dataclass

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


def with_article(noun: str) -> str:
    if re.match(
        r"(a|an|the|two|three|four|five|food|people|transport|music|money|mail|clothes|something|\d)\b",
        noun,
        re.I,
    ):
        return noun
    return ("an " if noun[0].lower() in "aeiou" else "a ") + noun
