"""Trains the demo model on drawings, exports it like any other model, and measures the bundle.

`make demo-model` runs it in the export environment. It needs Debian's fonts-noto-color-emoji,
unicode-data and unicode-cldr-core.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from dev.demo_model.drawings import image_of
from dev.demo_model.measuring import BUNDLE, measure, write_readme
from dev.demo_model.shapes import PAIRS
from dev.demo_model.training import SETTINGS, train
from dev.demo_model.world import (
    random_concept,
    random_facts,
    word,
)
from export.pipeline import export


def export_bundle(checkpoint: Path, seed: int) -> None:
    """Exports like any model, but compares decisions on drawings instead of photographs."""
    rng = np.random.default_rng([seed, 2])
    facts = [random_facts(rng, PAIRS) for _ in range(120)]
    trained = torch.load(checkpoint, weights_only=True)
    export(
        "demo",
        str(checkpoint),
        SETTINGS,
        "auto",
        BUNDLE,
        licence="the project's own; drawings of Noto Color Emoji (SIL Open Font License 1.1)",
        origin=(
            f"make demo-model MINUTES={trained['minutes']:g} (seed {trained['seed']},"
            f" {trained['steps']} steps)"
        ),
        name=None,
        with_torch=True,
        pictures=[image_of(rng, one) for one in facts],
        sentences=sorted({word(random_concept(rng, one), rng) for one in facts}),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=["train", "export", "measure", "all"])
    parser.add_argument("--minutes", type=float, default=82)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--checkpoint", type=Path, default=Path("build/demo/checkpoint.pt"))
    options = parser.parse_args()
    if options.step in ("train", "all"):
        train(options.minutes, options.seed, options.checkpoint)
    if options.step in ("export", "all"):
        export_bundle(options.checkpoint, options.seed)
    if options.step in ("measure", "all"):
        figures = measure(options.seed)
        write_readme(figures)
        print("\n".join(f"{100 * value:5.1f} %  {title}" for title, value in figures.items()))
