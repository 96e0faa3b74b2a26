"""docs/bulk.md: its sums, and its rules against an event of ours."""

import json
import re
from typing import Any

import pytest
from moto.events.models import EventPattern

import bulk
from tests.support.requests import ROOT

PAGE = (ROOT / "docs" / "bulk.md").read_text(encoding="utf-8")
BLOCKS = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE, re.S)]
PATTERNS = [block for block in BLOCKS if "source" in block]


def cost(images: int) -> float:
    batches = images / 100
    compute = images * 0.1 * (1.7275 * bulk.GB_SECOND + bulk.EXPRESS_GB * bulk.EXPRESS_GB_SECOND)
    each = bulk.LAMBDA_REQUEST + bulk.PUT + bulk.TRANSITION + bulk.EXPRESS
    return compute + batches * each + images * bulk.GET + images / 1000 * bulk.PUT


@pytest.mark.parametrize(
    ("images", "shown", "within"),
    [(1000, "$0.0031", 5e-5), (10**6, "$3.13", 5e-3), (10**8, "$313", 0.5)],
)
def test_the_costs_are_what_the_formulas_say(images: int, shown: str, within: float) -> None:
    assert f"| {images:,} | {shown} |" in PAGE
    assert cost(images) == pytest.approx(float(shown[1:]), abs=within)


def test_the_parts_add_up() -> None:
    parts = [float(value) for value in re.findall(r"\| \$(\d+\.\d{3}) \|", PAGE)]
    assert len(parts) == 6
    assert sum(parts) == pytest.approx(cost(10**6), abs=0.002)


@pytest.mark.parametrize(
    ("detail", "matching"),
    [
        ({"result": {"food": 0.9, "dog": 0.1}}, [0, 2]),
        (
            {
                "result": {"food": 0.5, "explicit": 0.95},
                "decision": {"labels": [], "action": "block"},
            },
            [1, 2],
        ),
        ({"error": {"message": "…", "code": "invalid_image"}}, [2]),
    ],
)
def test_the_rules_match_what_they_say(detail: dict[str, Any], matching: list[int]) -> None:
    event: Any = {
        "source": "clip-classifier",
        "detail-type": "Image Classified",
        "detail": {"key": "a", **detail},
    }
    found = [
        i
        for i, pattern in enumerate(PATTERNS)
        if EventPattern.load(json.dumps(pattern)).matches_event(event)
    ]
    assert (found, len(PATTERNS)) == (matching, 3)
