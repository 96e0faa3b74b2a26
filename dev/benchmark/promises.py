"""How often thresholds break their promise, on the demo model with new drawings of its own world:
`make benchmark-promises`.

One pool of drawings is the world, whose precision, recall and false alarms are known; folders are
drawn from it, with replacement, and each draw's thresholds are judged on the pool.
"""

import argparse
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from classifier.model.scoring import Floats
from dev.demo_model.labelled import draw
from tools.evaluate.classifier_file import open_classifier
from tools.evaluate.dataset import gather
from tools.evaluate.embeddings import Cache
from tools.evaluate.judging.guarantees import ERROR, promised
from tools.evaluate.judging.measures import Bools, at_most
from tools.evaluate.scores import Bundle

PROMISES = (("precision", 0.8), ("recall", 0.7), ("false_alarms", 0.02))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pool", type=int, default=8000)
    parser.add_argument("--pictures", type=int, default=1000, help="of each folder")
    parser.add_argument("--draws", type=int, default=200)
    given = parser.parse_args()
    judged = open_classifier("drawings")
    with tempfile.TemporaryDirectory() as folder, Cache(Path(folder) / "cache.sqlite3") as cache:
        draw(Path(folder) / "pool", judged.names, given.pool, 0.2, seed=2)
        material = gather(Bundle(Path("models/demo"), 2), Path(folder) / "pool", [judged], cache)
    truth = material.truth
    shares = material.answers[0].counted
    rng = np.random.default_rng(1)
    print(
        f"{len(truth):,} drawings, {given.draws} folders of {given.pictures:,},"
        f" {len(material.names)} names a folder"
    )
    broken = Counter[str]()
    without = Counter[str]()
    for _ in range(given.draws):
        chosen = rng.integers(len(truth), size=given.pictures)
        for kind, level in PROMISES:
            found = []
            for i in range(len(material.names)):
                threshold, _ = promised(
                    truth[chosen, i],
                    shares[chosen, i],
                    np.arange(len(chosen)),
                    kind,
                    level,
                    ERROR / len(material.names),
                )
                without[kind] += threshold is None
                found.append(
                    threshold is None or holds(truth[:, i], shares[:, i], threshold, kind, level)
                )
            broken[kind] += not all(found)
    for kind, level in PROMISES:
        count = given.draws
        names = given.draws * len(material.names)
        chance = 1 - at_most(broken[kind] - 1, count, ERROR) if broken[kind] else 1.0
        print(
            f"{kind} {level:.0%}: {broken[kind]} of {count} folders break it for any name"
            f" ({broken[kind] / count:.1%}; so many or more by chance, if 5 % did: {chance:.1%});"
            f" no threshold for {without[kind] / names:.0%} of the names"
        )


def holds(shown: Bools, shares: Floats, threshold: float, kind: str, level: float) -> bool:
    """Whether the promise is true of the whole pool."""
    counted = shares >= threshold
    if kind == "precision":
        return bool(shown[counted].mean() >= level)
    if kind == "recall":
        return bool(counted[shown].mean() >= level)
    return bool(counted[~shown].mean() <= level)


if __name__ == "__main__":
    main()
