"""Emoji that can be drawn, and the words that are true of each."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dev.demo_model.shapes import COLOURS, SHAPES

EMOJI_TEST = Path("/usr/share/unicode/emoji/emoji-test.txt")
CLDR = Path("/usr/share/unicode/cldr/common/annotations/en.xml")
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


@dataclass(frozen=True)
class Emoji:
    """One drawable emoji: its characters, its name, and all other words that are true of it."""

    characters: str
    name: str
    words: tuple[str, ...]


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
