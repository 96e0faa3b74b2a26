"""Requests to a handler, and the arithmetic that answers are compared with."""

import itertools
import math
from typing import Any

from classifier.api.handler import Handler
from tests.support.images import encoded, soft_image
from tests.support.requests import ROOT, Context, ask, base64_of, event

DOG = base64_of((ROOT / "examples" / "images" / "dog.jpg").read_bytes())
WIDE = base64_of(encoded(soft_image(150, 70), "JPEG"))
LABELS = ["a dog", "a cat", "a horse", "a car", "food"]
CATEGORIES = {"pets": ["a dog", "a cat"], "machines": ["a car"], "rest": ["a horse", "food"]}


def good(handler: Handler, **fields: Any) -> Any:
    image = {} if {"images", "image_embedding"} & fields.keys() else {"image_data": DOG}
    status, body, _ = ask(handler, event(image | fields))
    assert status == 200, body
    return body


def refused(handler: Handler, **fields: Any) -> tuple[int, str, str | None, str]:
    image = {} if {"images", "image_embedding"} & fields.keys() else {"image_data": DOG}
    status, body, _ = ask(handler, event(image | fields))
    return status, body["code"], body.get("field"), body["message"]


def exponentials(logits: dict[str, float]) -> dict[str, float]:
    weights = {name: math.exp(value - max(logits.values())) for name, value in logits.items()}
    return {name: weight / sum(weights.values()) for name, weight in weights.items()}


def assert_close(
    result: dict[str, float], expected: dict[str, float], within: float = 1e-9
) -> None:
    assert list(result) == list(expected)
    assert max(abs(result[name] - expected[name]) for name in expected) < within


def logits(handler: Handler, labels: list[str], **fields: Any) -> dict[str, float]:
    """Scaled cosines, computed from the `details` of one request per label."""
    logits = {}
    for label in labels:
        body = good(handler, labels=[label], details=True, **fields)
        logits[label] = body["model"]["logit_scale"] * body["similarities"][label]
    return logits


class RunningOut(Context):
    """A context whose time is up after this many checks of the deadline."""

    def __init__(self, checks: int) -> None:
        super().__init__()
        self._left = itertools.count(checks, -1)

    def get_remaining_time_in_millis(self) -> int:
        return 29_000 if next(self._left) > 0 else 1000
