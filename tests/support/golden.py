"""Reads what make_golden.py wrote."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FOLDER = Path(__file__).parent.parent / "golden"


def golden_pixels(width: int, height: int, mode: str = "") -> NDArray[np.uint8]:
    """open_clip's uint8 [64, 64, 3] of `soft_image(width, height)`, in its usual resize mode
    or in `longest`.
    """
    with np.load(FOLDER / "pixels.npz") as file:
        pixels: NDArray[np.uint8] = file[f"{width}x{height} {mode}".strip()]
    return pixels


@cache
def golden_tokens() -> dict[str, list[int]]:
    """open_clip's ids by text, start and end included."""
    tokens: dict[str, list[int]] = json.loads((FOLDER / "tokens.json").read_text(encoding="utf-8"))
    return tokens


@cache
def golden_demo() -> dict[str, Any]:
    """open_clip's own answers of the demo model: by image the embedding and the labels'
    probabilities; by label the embedding.
    """
    answers: dict[str, Any] = json.loads((FOLDER / "demo.json").read_text(encoding="utf-8"))
    return answers
