"""What a few examples teach, and how often thresholds of a learned head break their promise: `make
benchmark-learn`.

On the demo model with new drawings of its own world. The curve: the 50 names of emoji that the
model's text encoder tells apart least. The promises: one pool of drawings is the world, and folders
are drawn from it with replacement; each folder's head and thresholds are judged on the pool.
"""

import argparse
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import trange

from classifier.contract.limits import MAX_LABELS
from classifier.model.scoring import Floats
from dev.benchmark.promises import PROMISES, holds
from dev.demo_model.labelled import SEED, draw
from dev.demo_model.world import emoji, picture_of
from tools.evaluate.classifier_file import from_options, open_classifier
from tools.evaluate.dataset import Material, gather
from tools.evaluate.embeddings import Cache
from tools.evaluate.judging.guarantees import ERROR, promised
from tools.evaluate.judging.judgement import taken
from tools.evaluate.judging.measures import Bools, Ints, at_most
from tools.evaluate.learn.__main__ import EXAMPLES, HELD_BACK, Pupil, examples, held_back, part
from tools.evaluate.scores import Bundle

NAMES = 50
# Of each name: to learn from, and to judge by.
LEARNERS = 40
JUDGES = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--redraws", type=int, default=20, help="of the curve's examples; 0: no curve"
    )
    parser.add_argument("--pool", type=int, default=4000)
    parser.add_argument("--pictures", type=int, default=1000, help="of each folder")
    parser.add_argument("--draws", type=int, default=200, help="of folders")
    given = parser.parse_args()
    bundle = Bundle(Path("models/demo"), 2)
    with tempfile.TemporaryDirectory() as folder, Cache(Path(folder) / "cache.sqlite3") as cache:
        if given.redraws:
            print_curve(bundle, Path(folder) / "curve", cache, given.redraws)
        print_promises(
            bundle, Path(folder) / "pool", cache, given.pool, given.pictures, given.draws
        )


def confusable(bundle: Bundle) -> list[str]:
    """The names of emoji with the nearest neighbours, by their texts alone."""
    called = Counter(item.name for item in emoji())
    names = [name for name, count in called.items() if count == 1 and "/" not in name]
    parts = [names[start : start + MAX_LABELS] for start in range(0, len(names), MAX_LABELS)]
    rows = np.concatenate(
        [Pupil.of(bundle, from_options({"labels": part})).start.rows for part in parts]
    )
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, -1)
    return [names[i] for i in np.argsort(-cosines.max(axis=1), kind="stable")[:NAMES]]


def draw_each(folder: Path, names: list[str], each: int) -> None:
    rng = np.random.default_rng([SEED, 3])
    indices = {item.name: i for i, item in enumerate(emoji())}
    for name in names:
        (folder / name).mkdir(parents=True)
        for number in range(each):
            Image.fromarray(picture_of(rng, frozenset([indices[name]]))).save(
                folder / name / f"{number:05}.png"
            )


def print_curve(bundle: Bundle, folder: Path, cache: Cache, redraws: int) -> None:
    names = confusable(bundle)
    judged = from_options({"labels": names})
    rng = np.random.default_rng(0)
    draw_each(folder, names, LEARNERS + JUDGES)
    material = gather(bundle, folder, [judged], cache)
    pupil = Pupil.of(bundle, judged)
    learners = np.zeros(len(material.truth), np.bool_)
    for shown in material.truth.T:
        learners[rng.permutation(np.flatnonzero(shown))[:LEARNERS]] = True
    embeddings = material.answers[0].embeddings[~learners]
    right = material.truth[~learners].argmax(axis=1)
    print(
        f"{NAMES} names, {int((~learners).sum()):,} drawings to judge by; accuracy in %, mean of"
        f" {redraws} draws of examples, least and most"
    )
    for each in EXAMPLES:
        found = []
        for _ in range(redraws if each else 1):
            head = pupil.head(material, examples(material.truth, learners, each, rng))
            found.append(
                100 * float((taken(pupil.answer(head, names, embeddings)) == right).mean())
            )
        print(
            f"  {each:2} examples: {np.mean(found):.1f} ({min(found):.1f} to {max(found):.1f})",
            flush=True,
        )


def print_promises(
    bundle: Bundle, folder: Path, cache: Cache, pool: int, pictures: int, draws: int
) -> None:
    judged = open_classifier("drawings")
    rng = np.random.default_rng(1)
    judged = replace(judged, file=judged.file.model_copy(update={"thresholds": None}))
    draw(folder, judged.names, pool, 0.2, seed=2)
    world = gather(bundle, folder, [judged], cache)
    pupil = Pupil.of(bundle, judged)
    names = len(world.names)
    broken = Counter[str]()
    without = Counter[str]()
    for _ in trange(draws, unit="folder"):
        numbers = rng.integers(len(world.truth), size=pictures)
        drawn = sample(world, numbers)
        kept = held_back(drawn.groups, HELD_BACK, rng)
        learned = pupil.answer(
            pupil.head(drawn, ~kept), world.names, world.answers[0].embeddings
        ).counted
        for kind, level in PROMISES:
            found = thresholds(drawn.truth[kept], learned[numbers[kept]], kind, level)
            without[kind] += sum(threshold is None for threshold in found)
            broken[kind] += not all(
                threshold is None or holds(world.truth[:, i], learned[:, i], threshold, kind, level)
                for i, threshold in enumerate(found)
            )
    print(
        f"{len(world.truth):,} drawings, {draws} folders of {pictures:,}, half of them to learn"
        f" from, {names} names a folder"
    )
    for kind, level in PROMISES:
        count = broken[kind]
        chance = 1 - at_most(count - 1, draws, ERROR) if count else 1.0
        print(
            f"  {kind} {level:.0%}: {count} of {draws} folders break it for any name"
            f" ({count / draws:.1%}; so many or more by chance, if 5 % did: {chance:.1%}); no"
            f" threshold for {without[kind] / (draws * names):.0%} of the names"
        )


def sample(world: Material, chosen: Ints) -> Material:
    """Pictures drawn with replacement, each for itself. One that a head learned from comes again as
    often as in the world.
    """
    return replace(part(world, chosen), groups=np.arange(len(chosen)))


def thresholds(truth: Bools, shares: Floats, kind: str, level: float) -> list[float | None]:
    """All promises of a folder together keep the error."""
    error = ERROR / truth.shape[1]
    groups = np.arange(len(truth))
    return [
        promised(truth[:, i], shares[:, i], groups, kind, level, error)[0]
        for i in range(truth.shape[1])
    ]


if __name__ == "__main__":
    main()
