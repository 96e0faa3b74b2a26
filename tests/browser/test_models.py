"""What the page says of a model, and asks of one that judges each label alone."""

import math
from pathlib import Path

import pytest
from playwright.sync_api import Page

from classifier.api.handler import Handler
from classifier.contract.classifiers.file import parse_classifier
from classifier.model.encoders import Encoders
from tests.support.playground import DOG, bars, choose, hold_line, import_set, posts, said
from tests.support.sigmoid import sigmoid_bundle
from tools.local.serve import running

PETS = {"labels": ["a dog", "a cat"], "multi_label": True, "thresholds": {"a dog": 0.0002}}


def test_a_model_that_judges_each_label_alone_is_asked_and_shown_as_such(
    page: Page, tmp_path: Path
) -> None:
    bundle = sigmoid_bundle(tmp_path / "sigmoid", -16.0, languages=["de", "en"])
    encoders = Encoders.load(bundle, threads=1)
    handler = Handler(encoders, classifiers={"pets": parse_classifier(PETS)})
    with running(handler) as url:
        page.goto(url)
        choose(page, DOG)
        assert "add up to 100 %" in said(page, "#meaning")
        page.click("text=Which apply?")
        assert "likely the text belongs to the image, among all texts" in said(page, "#meaning")
        assert not page.is_visible("#negative-field")
        # So low a percentage would be "< 0.1 %" of every label otherwise.
        assert 0 < bars(page)["a dog"] < 0.1
        assert said(page, "#languages") == "Languages of labels: German, English."
        page.click("#clear")
        label = page.get_attribute(".entry input", "placeholder")
        assert label == "Type a label, then comma or Enter"
        page.click("#sets summary")
        page.click("[data-set='true pets']")
        assert "a dog reached 0.0" in said(page, "#verdict")
        assert "(threshold 0.02 %)" in said(page, "#verdict")
        # The server's question, changed: nothing that stands for absence comes with it.
        sent = posts(page)
        page.fill(".entry input", "a bird")
        page.press(".entry input", "Enter")
        assert bars(page).keys() == {"a dog", "a cat", "a bird"}
        assert sent[-1]["multi_label"] and "negative_template" not in sent[-1]
        import_set(page, {**PETS, "negative_template": "nothing"})
        assert "this model takes none: negative_template" in said(page, "#set-note")
        assert bars(page).keys() == {"a dog", "a cat"}


def test_thresholds_of_tiny_probabilities_are_set_on_logarithmic_bars(
    page: Page, tmp_path: Path
) -> None:
    encoders = Encoders.load(sigmoid_bundle(tmp_path / "sigmoid", -16.0), threads=1)
    widths = (
        "[...document.querySelectorAll('#bars .fill')].map((fill) => parseFloat(fill.style.width))"
    )
    with running(Handler(encoders)) as url:
        page.goto(url)
        choose(page, DOG)
        page.click("#more summary")
        page.fill("#threshold", "3")
        assert said(page, "#verdict").endswith("of 5 reached 3 %.")
        page.click("text=Which apply?")
        shown = bars(page)
        assert shown == {**shown, "a dog": 0.02, "something else": 0.00038, "a cat": 0.0001}
        assert said(page, "#bars li:nth-child(3) .share") == "< 0.0001 %"
        assert "the bars are logarithmic, from 0.0001 % to 100 %" in said(page, "#meaning")
        # Of six powers of ten: a hundred times as likely is a third of a bar more.
        expected = [100 * (1 + math.log10(share / 100) / 6) for share in shown.values()]
        assert page.evaluate(widths) == pytest.approx(expected, abs=0.5)
        assert expected[0] > 30
        # The line stays at its probability, whatever the bars' scale.
        assert said(page, "#verdict") == "0 of 5 reached 3 %."
        page.fill("#threshold-percent", "0.0123")
        page.press("#threshold-percent", "Enter")
        assert said(page, "#threshold-text") == "0.012 %"
        assert said(page, "#verdict") == "1 of 5 reached 0.012 %."
        assert page.locator("#bars .kept .label").all_inner_texts() == ["a dog"]
        assert '"min_probability": 0.000123' in page.inner_text("#code")
        page.focus("#threshold")
        for _ in range(2):
            page.keyboard.press("ArrowLeft")
        assert page.input_value("#threshold-percent") == "0.0095"
        page.keyboard.press("Home")
        assert said(page, "#threshold-text") == "none"
        assert "min_probability" not in page.inner_text("#code")
        page.fill("#threshold", "50")
        hold_line(page)(1 / 3)
        page.mouse.up()
        assert said(page, "#threshold-text") == "0.01 %"
        assert page.get_attribute("#threshold", "aria-valuetext") == "0.01\xa0%"


def test_a_model_of_which_no_languages_are_stated_is_asked_in_english(url: str, page: Page) -> None:
    page.goto(url)
    choose(page, DOG)
    assert said(page, "#languages").endswith("not stated by the model’s authors.")
    page.click("#clear")
    placeholder = page.get_attribute(".entry input", "placeholder")
    assert placeholder == "Type a label in English, then comma or Enter"
    page.click("text=Which apply?")
    assert "present against absent" in said(page, "#meaning")
    assert page.evaluate("!document.getElementById('negative-field').hidden")
