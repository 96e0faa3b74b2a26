"""Measures the demo bundle on drawings that training never saw, and writes its README."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from classifier.contract.bundle import read_manifest
from classifier.contract.request.fields import SLOT
from classifier.engine.context import RequestContext
from classifier.engine.prompt_cache import PromptCache
from classifier.engine.tokenized import Templates
from classifier.model.encoders import Encoders
from dev.average_precision import average_precision
from dev.demo_model.drawings import image_of
from dev.demo_model.shapes import HELD_OUT_PAIRS, PAIRS, Shapes
from dev.demo_model.world import concepts, random_shapes

BUNDLE = Path("models/demo")


class DemoBundle:
    """The bundle, used through the run-time modules."""

    def __init__(self) -> None:
        self.encoders = Encoders.load(BUNDLE, threads=torch.get_num_threads(), verify_hashes=True)
        self.prompts = PromptCache(self.encoders)

    def texts(self, labels: list[str]) -> NDArray[np.float32]:
        plain = Templates([SLOT])
        return np.stack(
            self.prompts.embed(
                [self.prompts.lookup(label, plain, label) for label in labels],
                RequestContext(lambda: 1_000_000),
            )
        )

    def images(self, images: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        return np.stack(self.encoders.encode_images(images))


def measure(seed: int) -> dict[str, float]:
    """Percentages, on drawings from seeds that training never uses."""
    rng = np.random.default_rng([seed, 3])
    model = DemoBundle()
    figures = dict[str, float]()
    names = [name for name, _ in concepts()[0]]
    shown = np.tile(np.arange(len(names)), 2)
    cosines = (
        model.images([image_of(rng, frozenset([int(i)])) for i in shown]) @ model.texts(names).T
    )
    right = cosines[np.arange(len(shown)), shown]
    rank = (cosines > right[:, None]).sum(1)
    figures[f"right name first among all {len(names)} names"] = float((rank == 0).mean())
    figures["right name among the first five of them"] = float((rank < 5).mean())
    others = (shown[:, None] + rng.integers(1, len(names), (len(shown), 4))) % len(names)
    figures["right name first among five random names"] = float(
        (right[:, None] > np.take_along_axis(cosines, others, 1)).all(1).mean()
    )
    pairs = model.texts([Shapes(1, *pair, None).phrase() for pair in PAIRS])
    for title, chosen in (
        ("seen", [p for p in PAIRS if p not in HELD_OUT_PAIRS]),
        ("never seen together in training", HELD_OUT_PAIRS),
    ):
        expected = [chosen[i % len(chosen)] for i in range(400)]
        drawn = [image_of(rng, replace(random_shapes(rng, [pair]), number=1)) for pair in expected]
        best = (model.images(drawn) @ pairs.T).argmax(1)
        figures[f"colour and shape {title}, first among all {len(PAIRS)} pairs"] = float(
            np.mean([PAIRS[b] == a for b, a in zip(best, expected, strict=True)])
        )
    counted = [Shapes(n, "red", "star", None) for n in range(1, 6)]
    drawn = [image_of(rng, Shapes(shapes.number, "red", "star", "blue")) for shapes in counted * 40]
    best = (model.images(drawn) @ model.texts([shapes.phrase() for shapes in counted]).T).argmax(1)
    figures["number of red stars, one to five"] = float((best == np.tile(np.arange(5), 40)).mean())
    looked_for = rng.choice(len(names), 60, replace=False)
    scenes = [
        frozenset(int(i) for i in rng.choice(looked_for, int(rng.integers(2, 5)), replace=False))
        for _ in range(1000)
    ]
    present = np.array([[int(i) in scene for i in looked_for] for scene in scenes])
    images = model.images([image_of(rng, scene) for scene in scenes])
    sides = {"": model.texts([names[i] for i in looked_for])}
    sides[" against no …"] = model.texts([f"no {names[i]}" for i in looked_for])
    sides[" against something else"] = model.texts(["something else"] * len(looked_for))
    for title, negatives in sides.items():
        scores = images @ sides[""].T - (images @ negatives.T if title else 0)
        precision = np.mean(
            [average_precision(scores[:, i], present[:, i]) for i in range(len(looked_for))]
        )
        figures[f"scenes of two to four things, mean average precision of 60 labels{title}"] = (
            float(precision)
        )
        if title:
            verdicts = scores > 0
            balanced = (verdicts[present].mean() + (~verdicts[~present]).mean()) / 2
            figures[
                f"scenes of two to four things, present or absent{title}, balanced accuracy"
            ] = float(balanced)
    return figures


def write_readme(figures: dict[str, float]) -> None:
    settings = read_manifest(BUNDLE, verify_hashes=True)
    rows = "\n".join(f"| {title} | {100 * value:.1f} % |" for title, value in figures.items())
    versions = ", ".join(f"{package} {version}" for package, version in settings.versions.items())
    fidelity = "\n".join(f"| {title} | {value} |" for title, value in settings.fidelity.items())
    (BUNDLE / "README.md").write_text(
        f"""# The demo model

A CLIP of {sum(f.bytes for f in settings.files.values()) / 1e6:.1f} MB, trained on drawings
of emoji and coloured shapes. With it the whole program can be tried without a download. **It says
nothing about photographs** and is never deployed.

Made by {settings.weights.source} on a machine with two cores, with open_clip's own model code
({versions}).
`make demo-model` trains it again. The figures vary a little from machine to machine.

## Accuracy on drawings that it never saw

`make demo-figures` measured this bundle (seed 1), through the modules that serve it:

| what | share |
|---|---|
{rows}

## Fidelity of the bundle against open_clip

| what | value |
|---|---|
{fidelity}

## What it can't do

It doesn't know photographs, drawings in another style, flags, skin tones, text in images, numbers
above five, more than four things at once, or words that are not a name, a keyword or a group of an
emoji. It often confuses clock faces, moods and other things that look alike, and takes a colour and
a shape that it never saw together for a pair that it knows. It sees 64 x 64 pixels.

The emoji were drawn with Noto Color Emoji (SIL Open Font License 1.1). Names and keywords are
Unicode's (Unicode License V3).
""",
        encoding="utf-8",
    )
