import base64
import json

import numpy as np
from playwright.sync_api import Page

from classifier.api.handler import Handler
from classifier.contract.classifiers.file import parse_classifier
from classifier.model.encoders import Encoders
from tests.support.playground import (
    FILES,
    bars,
    error,
    export_set,
    hold_line,
    posts,
    said,
    settle,
    until,
)
from tools.local.gateway import Limits
from tools.local.serve import running


def test_the_threshold_line_is_moved_by_pointer_and_by_keyboard(url: str, page: Page) -> None:
    page.goto(url)
    settle(page)
    page.click("#more summary")
    page.focus("#threshold")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert said(page, "#threshold-text") == "3 %"
    assert '"min_probability": 0.03' in page.inner_text("#code")
    move = hold_line(page)
    move(0.6)
    assert said(page, "#threshold-text") == "60 %"
    move(2)
    page.mouse.up()
    move(0)
    assert said(page, "#threshold-text") == "100 %"
    assert '"min_probability": 1' in page.inner_text("#code")
    assert said(page, "#verdict") == "0 of 5 reached 100 %."


def test_a_classifier_of_the_server_is_asked_by_name_until_it_is_changed(
    deployed: Handler, page: Page
) -> None:
    with running(deployed) as url:
        page.goto(url)
        settle(page)
        page.click("#sets summary")
        served = page.get_by_role("button", name="drawings")
        assert "8 labels, thresholds set by hand" in served.inner_text()
        assert "what a drawing shows" in served.inner_text()
        # The server's moderation stands in the place of the example of that name.
        assert page.get_by_role("button", name="moderation").count() == 1
        sent = posts(page)
        served.click()
        assert next(iter(bars(page))) == "a dog"
        assert sent[-1]["classifier"] == "drawings"
        assert "labels" not in sent[-1]
        assert served.get_attribute("aria-pressed") == "true"
        assert said(page, "#verdict") == f"a dog reached {bars(page)['a dog']} % (threshold 50 %)."
        assert page.locator("#bars .kept").count() == 1
        for language in ("curl", "python", "javascript"):
            page.click(f"[data-code={language}]")
            assert '"classifier": "drawings"' in page.inner_text("#code")
        page.click("[data-code=json]")
        assert json.loads(page.inner_text("#code"))["decision"]["labels"][0]["name"] == "a dog"
        page.fill(".entry input", "a boat")
        page.press(".entry input", "Enter")
        settle(page)
        assert "a boat" in sent[-1]["labels"]
        assert "A changed copy of drawings" in page.inner_text("#source")
        assert served.get_attribute("aria-pressed") == "false"
        page.click("#source-back")
        settle(page)
        assert sent[-1]["classifier"] == "drawings"
        page.check("[name=regions][value='2']", force=True)
        page.wait_for_selector("#heat:not([hidden])")
        assert (sent[-1]["classifier"], sent[-1]["regions"]) == ("drawings", 2)
        page.check("[name=regions][value='']", force=True)
        page.click("#samples button:nth-child(3)")
        until(page, "document.getElementById('about').textContent.startsWith('stars')")
        page.get_by_role("button", name="moderation").click()
        settle(page)
        assert said(page, "#verdict") == "No decision: moderation has no thresholds yet."
        assert page.locator(".category").count() == 7
        page.click("#clear")
        assert not page.is_visible("#source")


def test_a_decision_shows_its_action_and_each_labels_own_thresholds(
    encoders: Encoders, page: Page
) -> None:
    pets = parse_classifier({**FILES[2], "labels": ["a cat", "a dog", "a pizza"]})
    vectors = base64.b64encode(np.ones((2, encoders.manifest.dimension), "<f4").tobytes()).decode()
    taught = parse_classifier(
        {**FILES[-1], "head": {"vectors": vectors, "scale": 1}, "multi_label": False}
    )
    unlike = pets.model_copy(update={"min_similarity": 0.99})
    handler = Handler(encoders, classifiers={"pets": pets, "unlike": unlike, "taught": taught})
    with running(handler, Limits("secret")) as url:
        page.goto(url)
        assert error(page) == "This service asks for an API key."
        page.fill("#key", "secret")
        page.wait_for_selector("#bars li")
        page.click("#sets summary")
        page.get_by_role("button", name="pets 3").click()
        shares = bars(page)
        assert (
            said(page, "#verdict") == f"block a dog reached {shares['a dog']} % (threshold 80.5 %)."
        )
        assert page.inner_text("#verdict strong") == "block"
        marks = page.evaluate(
            "[...document.querySelectorAll('#bars li')].map((row) =>"
            " [row.querySelector('.label').textContent, row.querySelectorAll('.line').length])"
        )
        assert dict(marks) == {"a dog": 1, "a cat": 2, "a pizza": 0}
        assert page.locator("#bars .line.drag").count() == 0
        page.click("#samples button:nth-child(2)")
        until(page, "document.getElementById('about').textContent.startsWith('pizza')")
        assert said(page, "#verdict") == "No decision: nothing reached its threshold."
        page.click("#samples button:nth-child(1)")
        page.get_by_role("button", name="unlike").click()
        until(page, "document.getElementById('verdict').textContent.includes('unlike all')")
        assert page.locator("#bars .kept").count() == 0
        # The line that one drags takes the place of its own thresholds: it is another question.
        sent = posts(page)
        page.click("#more summary")
        page.fill("#threshold", "40")
        settle(page)
        assert sent[-1]["labels"] == ["a cat", "a dog", "a pizza"]
        assert said(page, "#verdict") == "1 of 3 reached 40 %."
        taught_button = page.get_by_role("button", name="taught")
        assert "thresholds fitted, learned from examples" in taught_button.inner_text()
        taught_button.click()
        assert bars(page) == {"a cat": 50, "a dog": 50}
        assert "fitted_on" not in export_set(page)[1]
        assert "stays on the server" in page.inner_text("#set-note")
        page.fill(".entry input", "a boat")
        settle(page)
        assert "What it learned from examples plays no part." in page.inner_text("#source")
