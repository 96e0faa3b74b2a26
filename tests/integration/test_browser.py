"""The playground in a real browser, on the demo model behind the local front."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from classifier.handler import Handler
from tests.support.container import needs
from tests.support.requests import ROOT
from tools.local.gateway import Limits
from tools.local.serve import running

PIZZA = ROOT / "examples/images/pizza.jpg"


@pytest.fixture
def page() -> Iterator[Page]:
    """A page that may fail at nothing, and ask nothing of anybody but the address that it came from."""
    if not shutil.which("chromium"):
        needs(chromium="chromium")
    with sync_playwright() as playwright:
        # Chromium's sandbox doesn't work for root, whom installing it takes.
        options = ["--disable-background-networking", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=options)
        page, wrong = browser.new_page(), list[str]()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "console", lambda said: wrong.append(said.text) if said.type == "error" and "status of 4" not in said.text else None
        )
        page.on("request", lambda asked: None if asked.url.startswith(("http://127.0.0.1", "blob:")) else wrong.append(asked.url))
        yield page
        assert wrong == []
        browser.close()


def choose(page: Page, picture: Path, labels: str) -> None:
    page.set_input_files("#file", picture)
    page.wait_for_selector("#drop img")
    page.fill("#labels", labels)


def rows(page: Page) -> list[tuple[str, float]]:
    page.wait_for_selector("#result tr")
    cells = [row.inner_text().split("\t") for row in page.query_selector_all("#result tr")]
    return [(cell[0], float(cell[-1].removesuffix(" %"))) for cell in cells]


def refusal(page: Page) -> str:
    page.wait_for_selector("#status[data-wrong]")
    assert page.query_selector_all("#result tr") == []
    return str(page.inner_text("#status"))


def test_a_picture_is_asked_about_and_the_answer_shown_best_first(handler: Handler, page: Page) -> None:
    with running(handler) as url:
        page.goto(url)
        choose(page, PIZZA, "a dog\na pizza\n\n food ")
        page.click("button")
        shown = rows(page)
        assert [label for label, _ in shown[:1]] == ["a pizza"]
        assert {label for label, _ in shown} == {"a dog", "a pizza", "food"}
        assert [share for _, share in shown] == sorted((share for _, share in shown), reverse=True)
        assert sum(share for _, share in shown) == pytest.approx(100, abs=0.02)
        assert page.inner_text("#status").startswith("demo, ")
        page.check("#multi")
        page.select_option("#fit", "tiles")
        with page.expect_request("**/?labels=*") as asked:
            page.click("button")
        assert asked.value.url.endswith("multi_label=true&fit=tiles")
        page.wait_for_function("document.querySelectorAll('#result tr').length === 3")
        assert sum(share for _, share in rows(page)) != pytest.approx(100, abs=1)


def test_what_is_wrong_is_said_and_can_be_mended(handler: Handler, page: Page, tmp_path: Path) -> None:
    with running(handler) as url:
        page.goto(url)
        page.click("button")
        assert refusal(page) == "Choose a picture first."
        (tmp_path / "not.jpg").write_bytes(b"no picture")
        page.set_input_files("#file", tmp_path / "not.jpg")
        page.wait_for_function("document.getElementById('status').textContent.startsWith('This file is no picture')")
        choose(page, PIZZA, "Cat\ncat")
        page.click("button")
        page.wait_for_function("document.getElementById('status').textContent.includes('same to the model')")
        assert refusal(page).endswith("remove one.")
        page.fill("#labels", "a dog\na pizza")
        page.click("button")
        assert rows(page)[0][0] == "a pizza"


def test_a_key_is_asked_for_and_sent(handler: Handler, page: Page) -> None:
    with running(handler, Limits("secret")) as url:
        page.goto(url)
        choose(page, PIZZA, "a dog\na pizza")
        page.click("button")
        page.wait_for_function("document.getElementById('status').textContent !== '…'")
        assert "key" in refusal(page)
        page.fill("#key", "secret")
        page.click("button")
        assert rows(page)[0][0] == "a pizza"


def test_a_large_picture_is_shrunk_before_it_is_sent(handler: Handler, page: Page, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2400, 3600, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.png")
    with running(handler) as url:
        page.goto(url)
        choose(page, tmp_path / "large.png", "a dog\nnoise")
        with page.expect_request("**/?labels=*") as asked:
            page.click("button")
        assert asked.value.headers["content-type"] == "image/jpeg"
        assert len(rows(page)) == 2
    assert (tmp_path / "large.png").stat().st_size > 20e6
