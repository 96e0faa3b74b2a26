"""How often thresholds break their guarantee, and how much a few examples teach.

On the demo model with new drawings of its own world. One pool of drawings is the world, whose
precision, recall and false alarms are known; folders are drawn from it with replacement, and each
folder's thresholds are judged on the pool. `make benchmark-promises` does that for the words, and
`make benchmark-learn` for heads that learned from half of each folder, after the curve: how good
heads are by the number of their examples, on the 50 names of emoji that the model's text encoder
tells apart least.
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
from dev.demo_model.drawings import image_of
from dev.demo_model.emoji import emoji
from dev.demo_model.labelled import SEED, draw
from tools.evaluate.classifier_file import from_options, open_classifier
from tools.evaluate.dataset import Dataset, gather
from tools.evaluate.embeddings import Cache
from tools.evaluate.judging.decisions import predicted
from tools.evaluate.judging.guarantees import ERROR, guaranteed
from tools.evaluate.judging.intervals import Bools, binomial_cdf
from tools.evaluate.learn.learner import EXAMPLES, Learner, examples, held_back
from tools.evaluate.scores import Bundle

GOALS = (("precision", 0.8), ("precision", 0.95), ("recall", 0.7), ("false_alarms", 0.02))
OTHERS = 0.2
# Of the curve: names, and drawings of each to learn from and to judge by.
NAMES = 50
LEARNERS = 40
JUDGES = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heads", action="store_true", help="learn from half of each folder")
    parser.add_argument("--curve", type=int, default=0, metavar="20", help="draws of examples")
    parser.add_argument("--pool", type=int, default=8000)
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 2000], help="of a folder")
    parser.add_argument("--draws", type=int, default=200, help="of folders")
    given = parser.parse_args()
    bundle = Bundle(Path("models/demo"), 2)
    with tempfile.TemporaryDirectory() as folder, Cache(Path(folder) / "cache.sqlite3") as cache:
        if given.curve:
            print_curve(bundle, Path(folder) / "curve", cache, given.curve)
        world, learner = the_world(bundle, Path(folder) / "pool", cache, given.pool)
        for images in given.images:
            print_guarantees(world, learner if given.heads else None, images, given.draws)


def the_world(bundle: Bundle, folder: Path, cache: Cache, pool: int) -> tuple[Dataset, Learner]:
    candidate = open_classifier("drawings")
    without = candidate.file.model_copy(update={"thresholds": None})
    candidate = replace(candidate, file=without)
    draw(folder, candidate.names, pool, OTHERS, seed=2)
    return gather(bundle, folder, [candidate], cache), Learner.of(bundle, candidate)


def print_guarantees(world: Dataset, learner: Learner | None, images: int, draws: int) -> None:
    """`learner`: of heads, None for the words' own probabilities."""
    rng = np.random.default_rng(1)
    broken = Counter[tuple[str, float]]()
    without = Counter[tuple[str, float]]()
    counted = world.answers[0].counted
    for _ in trange(draws, unit="folder"):
        chosen = rng.integers(len(world.truth), size=images)
        if learner:
            # A drawing that the head learned from comes again as often as in the world.
            drawn = replace(world.part(chosen), groups=np.arange(images))
            kept = held_back(drawn.groups, 0.5, rng)
            head = learner.head(drawn, ~kept)
            counted = learner.answer(head, world.names, world.answers[0].embeddings).counted
            chosen = chosen[kept]
        for goal in GOALS:
            found = thresholds(world.truth[chosen], counted[chosen], *goal)
            without[goal] += found.count(None)
            broken[goal] += not all(
                threshold is None or holds(world.truth[:, i], counted[:, i], threshold, *goal)
                for i, threshold in enumerate(found)
            )
    names = len(world.names)
    half = ", half of each to learn from" if learner else ""
    print(
        f"{len(world.truth):,} drawings, {draws} folders of {images:,}{half}, {names} labels each"
    )
    for goal in GOALS:
        count = broken[goal]
        chance = 1 - binomial_cdf(count - 1, draws, ERROR) if count else 1.0
        print(
            f"  {goal[0]} {goal[1]:.0%}: {count} of {draws} folders break it for any label "
            f"({count / draws:.1%}; this many or more by chance, if 5 % did: {chance:.1%}); no "
            f"threshold for {without[goal] / (draws * names):.1%} of the labels",
            flush=True,
        )


def thresholds(truth: Bools, probabilities: Floats, kind: str, level: float) -> list[float | None]:
    """All guarantees of a folder share the error."""
    error = ERROR / truth.shape[1]
    groups = np.arange(len(truth))
    return [
        guaranteed(truth[:, i], probabilities[:, i], groups, kind, level, error).value
        for i in range(truth.shape[1])
    ]


def holds(
    positives: Bools, probabilities: Floats, threshold: float, kind: str, level: float
) -> bool:
    """Whether the guarantee is true of the whole pool."""
    detected = probabilities >= threshold
    if kind == "precision":
        return bool(positives[detected].mean() >= level)
    if kind == "recall":
        return bool(detected[positives].mean() >= level)
    return bool(detected[~positives].mean() <= level)


def print_curve(bundle: Bundle, folder: Path, cache: Cache, redraws: int) -> None:
    names = confusable(bundle)
    candidate = from_options({"labels": names})
    rng = np.random.default_rng(0)
    draw_each(folder, names, LEARNERS + JUDGES)
    dataset = gather(bundle, folder, [candidate], cache)
    learner = Learner.of(bundle, candidate)
    among = np.zeros(len(dataset.truth), np.bool_)
    for positives in dataset.truth.T:
        among[rng.permutation(np.flatnonzero(positives))[:LEARNERS]] = True
    embeddings = dataset.answers[0].embeddings[~among]
    right = dataset.truth[~among].argmax(axis=1)
    print(
        f"{NAMES} names, {len(right):,} drawings to judge by; accuracy in %, mean of {redraws} "
        "draws of examples, least and most"
    )
    for each in EXAMPLES:
        found = []
        for _ in range(redraws if each else 1):
            head = learner.head(dataset, examples(dataset.truth, among, each, rng))
            answers = learner.answer(head, names, embeddings)
            found.append(100 * float((predicted(answers) == right).mean()))
        ends = f"{min(found):.1f} to {max(found):.1f}"
        print(f"  {each:2} examples: {np.mean(found):.1f} ({ends})", flush=True)


def confusable(bundle: Bundle) -> list[str]:
    """The names of emoji with the nearest neighbours, by their texts alone."""
    called = Counter(item.name for item in emoji())
    names = [name for name, count in called.items() if count == 1 and "/" not in name]
    parts = [names[start : start + MAX_LABELS] for start in range(0, len(names), MAX_LABELS)]
    learners = [Learner.of(bundle, from_options({"labels": part})) for part in parts]
    rows = np.concatenate([learner.start.rows for learner in learners])
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, -1)
    return [names[i] for i in np.argsort(-cosines.max(axis=1), kind="stable")[:NAMES]]


def draw_each(folder: Path, names: list[str], each: int) -> None:
    rng = np.random.default_rng([SEED, 3])
    indices = {item.name: i for i, item in enumerate(emoji())}
    for name in names:
        (folder / name).mkdir(parents=True)
        for number in range(each):
            image = Image.fromarray(image_of(rng, frozenset([indices[name]])))
            image.save(folder / name / f"{number:05}.png")


if __name__ == "__main__":
    main()
