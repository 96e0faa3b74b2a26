"""Labelled images that the demo model tells apart, made from numbers: shapes in a colour."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dev.demo_model.drawings import draw_shapes
from dev.demo_model.shapes import Shapes

LABELS = ("a red star", "a blue circle", "a green square")
MEANT = {
    "a red star": ("red", "star"),
    "a blue circle": ("blue", "circle"),
    "a green square": ("green", "square"),
}
OTHERS = (("yellow", "triangle"), ("purple", "cross"), ("orange", "ring"))


def draw(folder: Path, each: int, others: int = 0, seed: int = 0) -> None:
    """`each` images of every label, and `others` of none of them."""
    rng = np.random.default_rng(seed)
    entries = [(label, MEANT[label]) for label in LABELS for _ in range(each)]
    entries += [("_other", OTHERS[i % len(OTHERS)]) for i in range(others)]
    for number, (label, (colour, shape)) in enumerate(entries):
        path = folder / label / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(
            np.asarray(draw_shapes(rng, Shapes(int(rng.integers(1, 4)), colour, shape, "white")))
        ).save(path)


def report_data(folder: Path) -> Any:
    """What the report shows."""
    text = (folder / "report.html").read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    return json.loads(found[1])
