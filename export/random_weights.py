"""A safetensors file of random weights with a model's true names and shapes: to test with, never to answer with."""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from export.architecture import Architecture
from export.source import read_table

LOGIT_SCALE = np.float32(np.log(100))


def random_weights(architecture: Architecture, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Matrices keep the size of what they multiply; norms are near 1, and every bias is different, so that each must find its place."""
    rng, weights = np.random.default_rng(seed), dict[str, NDArray[np.float32]]()
    for name, shape in architecture.shapes().items():
        values = np.asarray(rng.standard_normal(shape), np.float32)
        if name.endswith((".bias", "_bias")) or "embedding" in name:
            values *= np.float32(0.05)
        elif len(shape) > 1:
            values /= np.float32(np.sqrt(np.prod(shape[1:])))
        else:
            values = np.asarray(1 + values / 10 if shape else LOGIT_SCALE, np.float32)
        weights[name] = values
    return weights


if __name__ == "__main__":
    model, path = sys.argv[1:]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    save_file(random_weights(Architecture.model_validate(read_table()["architectures"][model])), path)
