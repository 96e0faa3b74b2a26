"""Draws new images of the demo model's world, labelled: a folder for each name of
classifiers/drawings.json, and _other.

`make drawings`; needs Debian's fonts-noto-color-emoji, unicode-data and unicode-cldr-core.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from dev.demo_model.drawings import FONT, image_of
from dev.demo_model.emoji import CLDR, EMOJI_TEST, emoji
from tools.evaluate.classifier_file import open_classifier
from tools.evaluate.labelled import OTHER

# Training draws from generators of other seeds.
SEED = 20_261_128


def meant(label: str) -> list[int]:
    """The emoji that are called so, by their name or another of their words."""
    bare = re.sub(r"^(an?|the) ", "", label)
    return [i for i, item in enumerate(emoji()) if bare in (item.name, *item.words)]


def draw(folder: Path, labels: Sequence[str], count: int, share: float, seed: int) -> None:
    """`count` images, of which a `share` shows none of the labels, the others each label as
    often.
    """
    rng = np.random.default_rng([SEED, seed])
    shown = {label: meant(label) for label in labels}
    named = {i for indices in shown.values() for i in indices}
    others = [i for i in range(len(emoji())) if i not in named]
    for number in range(count):
        label = OTHER if rng.random() < share else labels[number % len(labels)]
        index = int(rng.choice(others if label == OTHER else shown[label]))
        path = folder / label / f"{number:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image_of(rng, frozenset([index]))).save(path)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument(
        "--other",
        type=float,
        default=0.2,
        help="the share of images of other things; default: 0.2",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=1,
        help="of the drawings: the same number draws the same ones; default: 1",
    )
    given = parser.parse_args(argv)
    if missing := [str(path) for path in (FONT, EMOJI_TEST, CLDR) if not path.exists()]:
        sys.exit(
            f"{missing[0]} is missing. On Debian or Ubuntu: apt-get install fonts-noto-color-emoji"
            " unicode-data unicode-cldr-core"
        )
    if given.folder.exists():
        sys.exit(
            f"{given.folder} exists; name one that doesn't, so that no drawing of before stays in"
            f" it, and another seed for other drawings: FOLDER={given.folder}-2 SEED=2."
        )
    draw(given.folder, open_classifier("drawings").names, given.images, given.other, given.seed)
    print(
        f"{given.images:,} drawings of the seed {given.seed} in {given.folder}, in a folder for"
        " each label."
    )


if __name__ == "__main__":
    main()
