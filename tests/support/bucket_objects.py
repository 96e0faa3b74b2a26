"""A bucket full of objects, and what a run should make of each."""

from collections import Counter
from typing import Any

from tests.support.images import encoded, soft_image
from tests.support.runs import put

LABELS = ["a dog", "a pizza", "a star"]
SMALL = [encoded(soft_image(60, 40, seed=seed), "JPEG") for seed in range(4)]


def fill(count: int, images: int | None = None) -> dict[str, str]:
    """Writes this many objects. Returns what should become of each: a result, an error or skipped.
    Behind the first `images` all are skipped.
    """
    expected = {}
    for i in range(count):
        kind = {3: "error", 7: "skipped", 11: "folder", 13: "empty"}.get(i % 50, "result")
        if images is not None and i >= images:
            kind = "skipped"
        key = f"images/{i:05}" + {"skipped": ".txt", "folder": "/"}.get(kind, ".jpg")
        body = {"error": b"no image", "folder": b"", "empty": b""}.get(
            kind, SMALL[i % len(SMALL)] + str(i).encode()
        )
        put(key, body)
        expected[key] = kind if kind in ("error", "result") else "skipped"
    return expected


def outcomes(found: list[dict[str, Any]]) -> dict[str, str]:
    """By key; every key once."""
    assert max(Counter(line["key"] for line in found).values(), default=1) == 1
    return {
        line["key"]: next(kind for kind in ("result", "error", "skipped") if kind in line)
        for line in found
    }
