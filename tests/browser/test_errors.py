from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Page

from classifier.api.handler import Handler
from tests.support.playground import (
    DOG,
    PIZZA,
    bars,
    error,
    import_set,
    replace_labels,
    said,
    settle,
    until,
)
from tools.local.gateway import Limits
from tools.local.serve import running


def test_errors_are_told_in_words_for_a_person_and_mended(
    url: str, page: Page, tmp_path: Path
) -> None:
    page.goto(url)
    settle(page)
    replace_labels(page, "Cat", "cat")
    assert error(page) == '"Cat" and "cat" are the same to the model; remove one.'
    assert page.inner_text(".chips .bad button:first-child") == "cat"
    assert page.query_selector_all("#bars li") == []
    replace_labels(page, "a dog")
    settle(page)
    assert "second label" in page.inner_text("#status")
    replace_labels(page, "a dog", "a pizza")
    assert next(iter(bars(page))) == "a dog"
    (tmp_path / "not.jpg").write_bytes(b"no image")
    page.set_input_files("#file", tmp_path / "not.jpg")
    assert "can’t read not.jpg" in error(page)
    assert not page.is_visible("#figure")
    assert page.query_selector_all("#bars li") == []


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("templates", "Each template needs exactly one {}, where the label goes."),
        ("fit", "“Wide images” must be one of: 'crop', 'pad', 'squash' or 'tiles'."),
        (
            "negative_template",
            "“Not there” has {} more than once; use it at most once, where the label goes.",
        ),
        ("thresholds", "A threshold must be a probability from 0 to 1"),
        ("labels", "The label has 300 tokens; the model reads at most 75."),
    ],
)
def test_an_error_is_told_at_the_field_that_it_names_until_the_field_is_mended(
    url: str, page: Page, field: str, message: str
) -> None:
    page.goto(url)
    settle(page)
    page.check("[value=each]", force=True)
    page.click("#more summary")
    wrong: dict[str, Callable[[], object]] = {
        "templates": lambda: page.fill("#templates", "a photo"),
        "fit": lambda: page.evaluate("""() => {
          fit.append(new Option("stretch", "stretch"));
          fit.value = "stretch";
          fit.dispatchEvent(new Event("change"));
        }"""),
        "negative_template": lambda: page.fill("#negative", "no {} {}"),
        "thresholds": lambda: import_set(
            page, {"labels": ["a dog", "a cat"], "multi_label": True, "thresholds": {"a dog": 2}}
        ),
        "labels": lambda: page.fill(".entry input", "x " * 300),
    }
    wrong[field]()
    slot = f"[data-error={field}]"
    page.wait_for_selector(slot)
    assert said(page, slot).startswith(message)
    assert page.inner_text("#announce") == page.inner_text(slot)
    assert page.locator("[aria-invalid]").count() == (0 if field == "labels" else 1)
    if field == "labels":
        # What is being typed stays there to be mended.
        assert len(page.input_value(".entry input")) == 600
    # An outage doesn't hide what is wrong with the question.
    page.route("**/*", lambda route: route.abort())
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#status.wrong")
    assert page.is_visible(slot)
    page.unroute("**/*")
    clears: list[Callable[[], object]] = [
        lambda: page.fill(".entry input", ""),
        lambda: page.fill("#templates", ""),
        lambda: page.select_option("#fit", ""),
        lambda: page.fill("#negative", ""),
        lambda: page.fill("#threshold", "20"),
    ]
    for clear in clears:
        clear()
    page.wait_for_selector("#bars li")
    assert not page.is_visible(slot)


def test_a_server_that_is_gone_is_told_apart_from_one_that_wakes_up(
    handler: Handler, page: Page
) -> None:
    failures = 0

    def waking(event: dict[str, Any], context: Any) -> Any:
        nonlocal failures
        if event["httpMethod"] == "POST" and failures:
            failures -= 1
            raise RuntimeError("not yet")
        return handler(event, context)

    with running(waking) as url:
        page.goto(url)
        settle(page)
        failures = 1
        page.click("#samples button:nth-child(2)")
        until(page, "document.getElementById('status').textContent.includes('waking up')")
        until(page, "document.querySelector('#bars .first .label')?.textContent === 'a pizza'")
    page.click("#samples button:nth-child(3)")
    until(page, "document.getElementById('status').textContent.includes('can’t be reached')")


def test_a_key_is_asked_for_only_if_one_is_needed_and_kept_for_the_tab(
    handler: Handler, page: Page
) -> None:
    with running(handler, Limits("secret")) as url:
        page.goto(url)
        assert error(page) == "This service asks for an API key."
        page.fill("#key", "guess")
        until(page, "document.querySelector('[data-error=key]').textContent.includes('accepted')")
        page.fill("#key", "secret")
        page.wait_for_selector("#bars li")
        page.reload()
        page.wait_for_selector("#bars li")
        assert "$CLIP_API_KEY" in page.inner_text("#code")
        assert "secret" not in page.inner_text("#code")
    assert page.evaluate("localStorage.length") == 0


def test_one_bad_file_among_several_leaves_the_others_their_answers(
    url: str, page: Page, tmp_path: Path
) -> None:
    (tmp_path / "not.jpg").write_bytes(b"no image")
    # The browser reads it; the service refuses this number of pixels.
    Image.new("RGB", (8000, 8000)).save(tmp_path / "large.png")
    page.goto(url)
    settle(page)
    page.set_input_files("#file", [DOG, tmp_path / "not.jpg", tmp_path / "large.png", PIZZA])
    until(page, "document.querySelectorAll('#grid button').length === 3")
    until(page, "!document.body.classList.contains('working')")
    assert "can’t read not.jpg" in error(page)
    named = page.eval_on_selector_all(
        "#grid button span:nth-child(2)", "all => all.map(s => s.innerText)"
    )
    assert sorted(named) == ["a dog", "a pizza", "refused"]


def test_without_a_connection_the_question_is_asked_again_once_it_is_back(
    url: str, page: Page
) -> None:
    page.goto(url)
    settle(page)
    page.context.set_offline(True)
    page.click("#samples button:nth-child(2)")
    until(page, "document.getElementById('status').textContent.startsWith('You are offline.')")
    page.context.set_offline(False)
    until(page, "document.querySelector('#bars .first .label')?.textContent === 'a pizza'")
    page.route("**/*", lambda route: route.abort())
    page.click("#samples button:nth-child(1)")
    until(page, "document.getElementById('status').textContent.includes('Trying again')")
    page.unroute("**/*")
    until(page, "document.querySelector('#bars .first .label')?.textContent === 'a dog'")
