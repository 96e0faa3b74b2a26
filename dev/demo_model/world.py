"""The demo model's world: images that can be drawn, and what is true of them in words.

Emoji come from Debian's `fonts-noto-color-emoji`, their names and groups from Unicode's
emoji-test.txt (`unicode-data`), their keywords from CLDR (`unicode-cldr-core`). Coloured shapes in
numbers are drawn here.
"""

import re
from collections import defaultdict
from functools import cache

import numpy as np

from dev.demo_model.emoji import emoji
from dev.demo_model.shapes import COLOURS, Shapes, with_article

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
Facts = frozenset[int] | Shapes  # which emoji are in an image, or which shapes
Concept = tuple[str, Facts]  # a phrase and the emoji of which it is true, or the shapes it asks for


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
def concepts() -> tuple[list[Concept], list[list[Concept]]]:
    """The name of each emoji, and for each emoji every other concept that is true of it."""
    having = defaultdict(set)
    for i, item in enumerate(emoji()):
        for text in (item.name, *item.words):
            having[text].add(i)
    names: list[Concept] = [(item.name, frozenset(having[item.name])) for item in emoji()]
    return names, [[(text, frozenset(having[text])) for text in item.words] for item in emoji()]


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
