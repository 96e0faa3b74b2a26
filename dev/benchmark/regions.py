"""Measures what `regions` find and what they cost, and prints the tables of docs/performance.md:
make benchmark-regions.

Scenes drawn in the demo model's world, asked through the handler: one to three emoji of 18 % of the
side each, 60 names to look for. Needs the fonts and Unicode data that training the demo model
needs.
"""

import argparse
import io
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dev.average_precision import average_precision
from dev.benchmark.ask import Handler, base64_of
from dev.benchmark.ask import ask as call
from dev.demo_model.drawings import background, degrade, paste
from dev.demo_model.world import concepts
from tools.local.serve import load

SHARE = 0.18
NAMES = 60
GRIDS = (2, 3, 4)
BATCH = 8


@dataclass(frozen=True)
class Scene:
    """A PNG file and, by the index of a name, where the middle of the thing is, in fractions of the
    side.
    """

    file: bytes
    centres: dict[int, tuple[float, float]]


@dataclass(frozen=True)
class Scores:
    """Probabilities [scenes, names], and the share of things whose centre lies in the hottest
    square, and in any square by chance.
    """

    best: NDArray[np.float64]
    held: float = 0.0
    chance: float = 0.0


def draw(rng: np.random.Generator, size: int, things: NDArray[np.int64]) -> Scene:
    """A scene of size x size pixels with things that don't cover each other."""
    canvas = background(rng, size)
    side = SHARE * size
    centres = dict[int, tuple[float, float]]()
    for place in rng.choice(len(things), int(rng.integers(1, 4)), replace=False).tolist():
        while True:
            x, y = rng.uniform(SHARE / 2, 1 - SHARE / 2, 2).tolist()
            if all(max(abs(x - a), abs(y - b)) > SHARE for a, b in centres.values()):
                break
        centres[place] = (x, y)
        paste(
            canvas,
            int(things[place]),
            (x * size, y * size),
            side,
            rng.normal(0, 12),
            rng.random() < 0.2,
        )
    file = io.BytesIO()
    Image.fromarray(degrade(rng, canvas)).save(file, "PNG")
    return Scene(file.getvalue(), centres)


def ask(handler: Handler, scenes: list[Scene], labels: list[str], regions: int) -> Scores:
    """The best of the whole and its regions; without regions, of the whole."""
    best = []
    held = []
    chances = []
    for start in range(0, len(scenes), BATCH):
        batch = scenes[start : start + BATCH]
        body = {
            "images": [base64_of(scene.file) for scene in batch],
            "labels": labels,
            "multi_label": True,
        }
        results = call(handler, body | ({"regions": regions} if regions else {}))["results"]
        for scene, answer in zip(batch, results, strict=True):
            parts = answer.get("regions", [])
            rows = np.array([[*one["result"].values()] for one in (answer, *parts)])
            best.append(rows.max(axis=0))
            for place, (x, y) in scene.centres.items() if parts else ():
                inside = [
                    left <= x <= left + width and top <= y <= top + height
                    for left, top, width, height in (p["box"] for p in parts)
                ]
                held.append(inside[int(rows[1:, place].argmax())])
                chances.append(statistics.mean(inside))
    return Scores(
        np.array(best), *(float(np.mean(values)) if values else 0.0 for values in (held, chances))
    )


def measure_scenes(handler: Handler, rng: np.random.Generator, size: int, count: int) -> None:
    names = concepts()[0]
    things = rng.choice(len(names), NAMES, replace=False)
    labels = [names[i][0] for i in things]
    scenes = [draw(rng, size, things) for _ in range(count)]
    present = np.array([[place in scene.centres for place in range(NAMES)] for scene in scenes])
    print(f"\n{count} scenes of {size} x {size} pixels\n")
    print(
        "| asked | mean average precision | present and over 0.5 | false alarms: absent and over"
        " 0.5 | hottest square holds the thing | by chance |"
    )
    print("|---|---|---|---|---|---|")
    for regions in (0, *GRIDS):
        scores = ask(handler, scenes, labels, regions)
        precision = np.mean(
            [
                average_precision(scores.best[:, i], present[:, i])
                for i in range(NAMES)
                if present[:, i].any()
            ]
        )
        over = scores.best > 0.5
        cells = [
            f"best of the whole and {regions} x {regions}" if regions else "the whole",
            f"{precision:.2f}",
        ]
        cells += [f"{over[present].mean():.0%}", f"{over[~present].mean():.1%}"]
        cells += [f"{scores.held:.0%}", f"{scores.chance:.0%}"] if regions else ["", ""]
        print(f"| {' | '.join(cells)} |", flush=True)


def measure_time(handler: Handler, file: bytes, calls: int) -> None:
    """Each kind of request in turns; the median of its ratios to the plain one of the same turn."""
    body = {"image_data": base64_of(file), "labels": ["a dog", "a cat"]}
    bodies = {regions: body | ({"regions": regions} if regions else {}) for regions in (0, *GRIDS)}
    turns: list[dict[int, float]] = []
    for _ in range(calls + 2):
        turn = {}
        for regions, asked in bodies.items():
            start = time.perf_counter()
            call(handler, asked)
            turn[regions] = time.perf_counter() - start
        turns.append(turn)
    print("\n| asked | images encoded | time, ratio to one image |")
    print("|---|---|---|")
    for regions in GRIDS:
        ratio = statistics.median(turn[regions] / turn[0] for turn in turns[2:])
        print(f"| `regions: {regions}` | {regions**2 + 1} | {ratio:.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--bundle",
        type=Path,
        default=Path("models/demo"),
        help="for the time alone another bundle may be named",
    )
    parser.add_argument(
        "--scenes", type=int, default=300, help="of each size; 0 measures the time alone"
    )
    parser.add_argument("--calls", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    handler = load(arguments.bundle)
    rng = np.random.default_rng([arguments.seed, 4])
    for size in (256, 64) if arguments.scenes else ():
        measure_scenes(handler, rng, size, arguments.scenes)
    measure_time(handler, Path("examples/images/dog.jpg").read_bytes(), arguments.calls)


if __name__ == "__main__":
    main()
