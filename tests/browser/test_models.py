"""What the page says of a model, and asks of one that judges each label alone."""

from pathlib import Path

from playwright.sync_api import Page

from classifier.api.handler import Handler
from classifier.contract.classifiers.file import parse_classifier
from classifier.model.encoders import Encoders
from tests.support.playground import DOG, bars, choose, import_set, posts, said
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
