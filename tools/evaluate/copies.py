"""Near-copies: thumbnails, re-encodings and neighbouring frames of one image.

They show the same, so they are one piece of evidence. A small version of the pixels finds them, the
same for every model. docs/evaluate.md has the measured rates; `make benchmark-copies` makes them.
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from classifier.contract.bundle import ImageSettings
from classifier.contract.errors import ApiError
from classifier.images.decoder import Decoder
from classifier.images.opened_image import open_image

# In pixels, whatever the image's proportions.
SIDE = 16
SETTINGS = ImageSettings(size=SIDE, interpolation="bicubic", resize_mode="squash", max_batch=1)
# The cosine between two images' differences of neighbouring grey pixels.
SIMILAR = 0.75
# Root mean square, in levels of 255, of the difference in colour over a grid of 4 x 4.
MAX_COLOUR_DIFFERENCE = 25.0
# Differences of a grey level or less are noise: empty images resemble each other.
NOISE = 1.0
GREY = np.array([0.299, 0.587, 0.114], np.float32)
# Decoders, each a process of its own.
WORKERS = os.cpu_count() or 1
# How many images are compared with all others at a time.
ROWS = 1024
Ints = NDArray[np.int64]
Pixels = NDArray[np.uint8]


def small_versions(files: Mapping[str, Path], workers: int = WORKERS) -> dict[str, Pixels]:
    """uint8 [SIDE, SIDE, 3] of each image, without those that can't be decoded."""
    decoders = [Decoder() for _ in range(workers)]

    def look(entry: tuple[int, Path]) -> Pixels | None:
        number, path = entry
        try:
            image = open_image(path.read_bytes())
            return image.decode(SETTINGS, decoder=decoders[number % workers]).squares[0]
        except (OSError, ApiError):
            return None

    try:
        with ThreadPoolExecutor(workers) as pool:
            found = pool.map(look, enumerate(files.values()))
            return {
                name: pixels
                for name, pixels in zip(files, found, strict=True)
                if pixels is not None
            }
    finally:
        for decoder in decoders:
            decoder.close()


def near_copies(pixels: Sequence[Pixels | None]) -> Ints:
    """A number for each image [N], the same for near-copies and for near-copies of those.

    `pixels`: uint8 [SIDE, SIDE, 3]; an image without any resembles no other.
    """
    known = np.array([i for i, each in enumerate(pixels) if each is not None], np.intp)
    numbers: Ints = np.arange(len(pixels))
    if not len(known):
        return numbers
    rgb = np.stack([each for each in pixels if each is not None]).astype(np.float32)
    vectors, colours = _differences(rgb @ GREY), _coarse(rgb)
    found: Ints = np.arange(len(rgb))
    lengths, most = (colours**2).sum(axis=1), MAX_COLOUR_DIFFERENCE**2 * colours.shape[1]
    for start in range(0, len(rgb), ROWS):
        end = min(start + ROWS, len(rgb))
        distances = (
            lengths[start:end, None] + lengths[:end] - 2 * colours[start:end] @ colours[:end].T
        )
        alike = (vectors[start:end] @ vectors[:end].T > SIMILAR) & (distances < most)
        # Each with those before it.
        alike = np.tril(alike, start - 1)
        for i in np.flatnonzero(alike.any(axis=1)):
            joined = np.unique(found[:end][alike[i]])
            found[start + i] = joined[0]
            if len(joined) > 1:
                found[np.isin(found, joined)] = joined[0]
    numbers[known] = known[found]
    return numbers


def _differences(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unit vectors [N, 2 · SIDE · (SIDE - 1) + 1] of the differences between neighbours."""
    sideways, down = np.diff(grey, axis=2), np.diff(grey, axis=1)
    parts = [sideways.reshape(len(grey), -1), down.reshape(len(grey), -1)]
    noise = NOISE * np.sqrt(sum(part.shape[1] for part in parts))
    rows = np.concatenate([*parts, np.full((len(grey), 1), noise)], axis=1).astype(np.float32)
    unit: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def _coarse(rgb: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean colours over a grid of 4 x 4: [N, 48]."""
    cell = SIDE // 4
    means: NDArray[np.float32] = rgb.reshape(len(rgb), 4, cell, 4, cell, 3).mean(axis=(2, 4))
    return means.reshape(len(rgb), -1)
