"""Writes a small CLIP's encoders in every precision, and what to encode: python -m
tests.support.steps FOLDER.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from dev.benchmark.ladder import small_ladder
from dev.weights import small_architecture, unfriendly
from export.graphs.precisions import STEPS
from export.graphs.towers import write_encoder


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        ladder, _ = small_ladder(Path(name), unfriendly(small_architecture()), "arm64", 20)
        for encoder in ("image", "text"):
            calibrated = ladder.calibrate(encoder, Path(name) / f"{encoder}.onnx")
            for step in STEPS:
                (folder / step).mkdir(exist_ok=True)
                write_encoder(
                    calibrated.source, encoder, step, folder / step, calibrated.statistics
                )
        pixels = np.stack(ladder.reference.pixels[:8])
    # Filled with zeros: texts of 5 to 16 tokens, of which each begins as others do for a while.
    rng = np.random.default_rng(0)
    ids = np.zeros((12, 16), np.int64)
    for i, row in enumerate(ids):
        row[: 5 + i] = rng.integers(1000, 49406, 5 + i)
        row[: min(1 + i, 10)] = [49406, *range(2000, 2009)][: 1 + i]
        row[4 + i] = 49407
    np.savez(folder / "inputs.npz", image=pixels, text=ids)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
