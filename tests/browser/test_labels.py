from playwright.sync_api import Page

from classifier.contract.classifiers.file import parse_classifier
from tests.support.playground import (
    FILES,
    PIZZA,
    bars,
    choose,
    error,
    export_set,
    import_set,
    posts,
    replace_labels,
    settle,
    until,
)


def test_labels_are_added_edited_pasted_and_removed_and_the_image_is_sent_once(
    url: str, page: Page
) -> None:
    page.goto(url)
    settle(page)
    choose(page, PIZZA)
    settle(page)
    sent = posts(page)
    replace_labels(page, "a dog", "a pizza")
    assert set(bars(page)) == {"a dog", "a pizza"}
    page.type(".entry input", "a cake,")
    page.evaluate("""() => {
      const clipboardData = new DataTransfer();
      clipboardData.setData("text", "a hat, a boat\\na car");
      const paste = { clipboardData, bubbles: true, cancelable: true };
      document.querySelector(".entry input").dispatchEvent(new ClipboardEvent("paste", paste));
    }""")
    assert set(bars(page)) == {"a dog", "a pizza", "a cake", "a hat", "a boat", "a car"}
    page.click("text=a cake >> nth=0")
    page.fill(".entry input", "a birthday cake")
    page.press(".entry input", "Enter")
    page.get_by_role("button", name="Remove a hat").click()
    page.press(".entry input", "Backspace")
    assert set(bars(page)) == {"a dog", "a pizza", "a boat", "a car"}
    page.click("#sort")
    chips = [chip.inner_text() for chip in page.query_selector_all(".chips li button:first-child")]
    assert chips == list(bars(page))
    assert sent
    assert all("image_embedding" in body for body in sent)
    assert "image remembered" in page.inner_text("#timing")


def test_what_is_typed_survives_the_answer_that_comes_meanwhile(url: str, page: Page) -> None:
    page.goto(url)
    settle(page)
    page.type(".entry input", "a rainb")
    page.select_option("#fit", "pad", force=True)
    settle(page)
    assert page.input_value(".entry input") == "a rainb"


def test_an_example_fills_in_its_labels_and_a_file_without_labels_is_refused(
    url: str, page: Page
) -> None:
    page.goto(url)
    settle(page)
    page.click("#sets summary")
    page.get_by_role("button", name="Moderation").click()
    assert set(bars(page)) == {
        "neutral",
        "suggestive",
        "sport",
        "explicit",
        "gaming",
        "music",
        "violence",
    }
    page.get_by_role("button", name="Animals").click()
    assert "a dog" in bars(page)
    files: list[object] = [
        [],
        {"labels": "a dog"},
        {"labels": [1]},
        {"categories": {}},
        {"labels": ["a dog"], "categories": {"b": ["c"]}},
    ]
    for wrong in files:
        import_set(page, wrong)
        assert "no set of labels" in error(page)
        page.get_by_role("button", name="Scenes").click()
        assert "a beach" in bars(page)


def test_a_set_is_imported_and_exported_as_the_same_file_that_the_server_takes(
    url: str, page: Page
) -> None:
    page.goto(url)
    settle(page)
    page.click("#sets summary")
    for number, value in enumerate(FILES):
        import_set(page, value, f"Set {number}.json")
        until(
            page,
            "number => document.getElementById('set-note').textContent.startsWith(`Set ${number}`)",
            number,
        )
        settle(page)
        assert page.locator("[data-error]:visible").count() == 0
        name, exported = export_set(page)
        assert name == f"set-{number}.json"
        assert parse_classifier(exported) == parse_classifier(value)


def test_what_an_import_cannot_keep_is_said(url: str, page: Page) -> None:
    page.goto(url)
    settle(page)
    page.click("#sets summary")
    import_set(page, FILES[-1] | {"colour": "red"})
    page.wait_for_selector("#set-note")
    note = page.inner_text("#set-note")
    assert "unknown to the server: colour" in note
    assert "fitted on demo" in note
    assert "(head) can’t be tried here" in note
    assert page.inner_text("#announce") != ""
    page.fill(".entry input", "a horse")
    page.press(".entry input", "Enter")
    settle(page)
    exported = export_set(page)[1]
    assert exported["labels"] == ["a cat", "a dog", "a horse"]
    assert exported["thresholds"] == {"a cat": 0.125, "a dog": 0.5}
    assert "fitted_on" not in exported
    assert "Left out, since the set was changed: fitted_on, head." in page.inner_text("#set-note")


def test_a_set_of_ones_own_is_kept_in_the_browser_until_it_is_forgotten(
    url: str, page: Page
) -> None:
    page.goto(url)
    settle(page)
    page.click("#sets summary")
    replace_labels(page, "a dog", "a boat")
    page.fill("#set-name", "My <b>boats</b>")
    page.press("#set-name", "Enter")
    page.reload()
    settle(page)
    page.click("#sets summary")
    page.get_by_role("button", name="My <b>boats</b>", exact=True).click()
    assert set(bars(page)) == {"a dog", "a boat"}
    assert export_set(page)[0] == "my-b-boats-b.json"
    page.get_by_role("button", name="Forget My <b>boats</b>").click()
    assert page.get_by_role("button", name="My <b>boats</b>", exact=True).count() == 0
    page.reload()
    settle(page)
    assert page.evaluate("localStorage.getItem('sets')") == "{}"
