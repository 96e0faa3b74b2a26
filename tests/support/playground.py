import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, Request

from tests.support.requests import ROOT

IMAGES = ROOT / "examples" / "images"


PIZZA = IMAGES / "pizza.jpg"


DOG = IMAGES / "dog.jpg"


WIDE = IMAGES / "wide.jpg"


def until(page: Page, condition: str, argument: object = None) -> None:
    """Waits for a condition in JavaScript; Playwright's own way to wait needs what the page's
    security policy forbids.
    """
    deadline = time.monotonic() + 30
    while not page.evaluate(condition, argument):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(50)


def until_answered(page: Page, images: int) -> None:
    """Waits until each of this number of images in the grid has its percentage."""
    buttons = "[...document.querySelectorAll('#grid button')]"
    until(
        page,
        f"n => (b => b.length === n && b.every((one) => one.textContent.includes('%')))({buttons})",
        images,
    )


def settle(page: Page) -> None:
    """Waits until an answer to the present question is shown."""
    page.wait_for_selector("body:not(.working)")


def bars(page: Page) -> dict[str, float]:
    settle(page)
    rows = [
        row.inner_text().replace("\xa0", " ").split("\n")
        for row in page.query_selector_all("#bars li")
    ]
    return {
        row[0]: float(
            row[1]
            .removesuffix(" %")
            .replace("< 0.1", "0")
            .replace("> 99.9", "100")
            .removeprefix("< ")
        )
        for row in rows
    }


def said(page: Page, selector: str) -> str:
    """A text as one reads it; numbers hold on to their signs by spaces that don't break."""
    settle(page)
    text: str = page.inner_text(selector)
    return text.replace("\xa0", " ")


def replace_labels(page: Page, *labels: str) -> None:
    page.click("#clear")
    for label in labels:
        page.fill(".entry input", label)
        page.press(".entry input", "Enter")


def import_set(page: Page, value: object, name: str = "set.json") -> None:
    page.set_input_files(
        "#set-file",
        {"name": name, "mimeType": "application/json", "buffer": json.dumps(value).encode()},
    )


def export_set(page: Page) -> tuple[str, Any]:
    with page.expect_download() as download:
        page.click("#export")
    return download.value.suggested_filename, json.loads(
        download.value.path().read_text(encoding="utf-8")
    )


def choose(page: Page, *images: Path) -> None:
    page.set_input_files("#file", list(images))
    until(
        page,
        "name => document.getElementById('about').textContent.startsWith(name)",
        images[0].name,
    )


def error(page: Page) -> str:
    found = page.wait_for_selector("#status.wrong, [data-error]:not([hidden])")
    assert found
    text: str = found.inner_text()
    return text


def hold_line(page: Page) -> Callable[[float], None]:
    """Presses the pointer on the threshold's line on the first bar. Returns what moves it to a
    place on the bar, from 0 to 1.
    """
    page.locator("#bars").scroll_into_view_if_needed()
    page.wait_for_timeout(300)  # bars move for 250 ms
    line = page.locator("#bars .first .line").bounding_box()
    bar = page.locator("#bars .first .bar").bounding_box()
    assert line
    assert bar
    left, width, middle = bar["x"], bar["width"], bar["y"] + bar["height"] / 2
    page.mouse.move(line["x"] + 1, middle)
    page.mouse.down()
    return lambda place: page.mouse.move(left + place * width, middle, steps=4)


def posts(page: Page) -> list[Any]:
    """The bodies of all questions from now on."""
    bodies: list[Any] = []

    def note(request: Request) -> None:
        if request.method == "POST":
            bodies.append(json.loads(request.post_data or ""))

    page.on("request", note)
    return bodies


FITTED = {"model": "demo", "fingerprint": "0" * 64, "question": "1" * 64}


FILES: list[dict[str, Any]] = [
    *(
        json.loads((ROOT / "classifiers" / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("drawings", "moderation")
    ),
    {
        "description": "Pets in the garden.",
        "labels": ["a cat", "a dog", "a hedgehog"],
        "templates": ["a photo of {}", "{}"],
        "actions": ["review", "block"],
        "thresholds": {"a cat": {"review": 0.5, "block": 0.9}, "a dog": {"block": 0.805}},
        "min_similarity": -0.5,
    },
    {
        "categories": {"pets": ["a cat", "a dog"], "food": ["a pizza"]},
        "multi_label": True,
        "negative_template": "nothing",
        "fit": "pad",
        "thresholds": {"pets": 0.5},
    },
    {
        "categories": {"pets": ["a cat", "a dog"], "food": ["a pizza"]},
        "thresholds": {"food": 0.25, "pets": 0.25},
    },
    {
        "labels": ["a cat", "a dog"],
        "multi_label": True,
        "thresholds": {"a cat": 0.125, "a dog": 0.5},
        "fitted_on": FITTED,
        "head": {"vectors": "AAAA", "scale": 20.0},
    },
]
