"""The report of `make evaluate` in a real browser, on images that the demo model judged."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.support.browser import opened
from tests.support.labelled import LABELS, draw, report_data
from tests.support.programs import exit_status
from tests.support.requests import DEMO, ROOT
from tests.support.sigmoid import sigmoid_bundle
from tools.evaluate.__main__ import main

AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
# A name that would be markup if it were put into the page as it is.
HOSTILE = "<img src=x onerror=alert(1)></script>"
NAMES = [*LABELS, HOSTILE]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on two classifiers, of names of which one is markup."""
    found = tmp_path_factory.mktemp("report")
    draw(found / "pictures", each=40, others=40)
    for name, templates in (("mine", ["{}"]), ("other", ["a picture without {}"])):
        question = {"labels": NAMES, "templates": templates}
        (found / f"{name}.json").write_text(json.dumps(question), encoding="utf-8")
    arguments = [
        "--against",
        found / "other.json",
        "--cache",
        found / "cache.sqlite3",
        "--report",
        found / "report.html",
    ]
    assert (
        exit_status(
            main,
            found / "pictures",
            "--classifier",
            found / "mine.json",
            *arguments,
            "--bundle",
            DEMO,
        )
        == 0
    )
    return found


def show(browser: Browser, folder: Path, **how: Any) -> Any:
    return opened(browser, address=(folder / "report.html").as_uri(), **how)


def numbers(page: Page) -> dict[str, str]:
    return {
        box.get_attribute("data-name"): box.query_selector("b").inner_text()
        for box in page.query_selector_all(".numbers div")
    }


def test_the_report_shows_everything_and_asks_nobody(browser: Browser, folder: Path) -> None:
    with show(browser, folder) as page:
        page.goto((folder / "report.html").as_uri())
        titles = [title.inner_text() for title in page.query_selector_all("h2")]
        assert titles == [
            "How good it is",
            "What is taken for what",
            "Precision and recall over the threshold",
            "Do the probabilities hold?",
            "Worst mistakes",
            "Worst of _other",
            "Most doubtful images",
            "Right with mine alone",
            "Right with other alone",
        ]
        assert HOSTILE in page.inner_text("table.matrix")
        assert page.query_selector("img[src=x]") is None
        sizes = page.evaluate(
            "Promise.all([...document.images].map(async i => (await i.decode(), i.naturalWidth)))"
        )
        assert len(sizes) > 24 and set(sizes) == {160}


def test_the_slider_moves_what_it_says(browser: Browser, folder: Path) -> None:
    curves = report_data(folder)["curves"]
    with show(browser, folder) as page:
        page.goto((folder / "report.html").as_uri())
        for i, curve in enumerate(curves):
            page.select_option("#name", str(i))
            slider = page.query_selector("#threshold")
            for at in (0, len(curve["points"]) // 2, len(curve["points"]) - 1):
                slider.evaluate(
                    "(slider, at) => { slider.value = at; slider.dispatchEvent(new"
                    " Event('input')) }",
                    at,
                )
                threshold, hits, alarms, precision, *_ = curve["points"][at]
                found = numbers(page)
                assert float(page.inner_text("#chosen")) == pytest.approx(
                    threshold, abs=0.0006, rel=0.01
                )
                assert found["counted"] == str(hits + alarms)
                assert found["precision"] == (
                    "–" if precision is None else f"{100 * precision:.1f} %"
                )
                assert found["recall"] == f"{100 * hits / curve['positives']:.1f} %"
                assert found["false alarms"] == f"{100 * alarms / curve['negatives']:.1f} %"
                assert found["missed"] == str(curve["positives"] - hits)
        # By the keyboard, as anybody would who has no mouse.
        before = numbers(page)
        slider.focus()
        page.keyboard.press("Home")
        assert numbers(page) != before


def test_a_model_that_judges_each_label_alone_has_logarithmic_charts(
    browser: Browser, tmp_path: Path
) -> None:
    draw(tmp_path / "pictures", each=20, others=20)
    bundle = sigmoid_bundle(tmp_path / "low", -13.0)
    given = ["--labels", ",".join(LABELS), "--multi-label", "--precision", "0.7"]
    files = ["--cache", tmp_path / "cache.sqlite3", "--report", tmp_path / "report.html"]
    assert exit_status(main, tmp_path / "pictures", *given, *files, "--bundle", bundle) == 0
    data = report_data(tmp_path)
    # One bin would hold nearly all if they were even.
    assert len(data["reliability"]) >= 4
    assert all(one["from"] <= one["mean"] <= one["to"] for one in data["reliability"])
    assert sum(one["count"] for one in data["reliability"]) == 80 * len(LABELS)
    threshold = data["curves"][0]["points"][data["curves"][0]["chosen"]][0]
    assert 0.001 < threshold < 0.1
    with show(browser, tmp_path) as page:
        page.goto((tmp_path / "report.html").as_uri())
        ticks = page.eval_on_selector_all(
            "svg:first-of-type text[text-anchor=middle]",
            "(texts) => texts.map((text) => [+text.textContent, +text.getAttribute('x')])",
        )[:7]
        assert [value for value, _ in ticks] == [10.0**power for power in range(-6, 1)]
        here = float(page.get_attribute("line.here", "x1"))
        (_, first), *_, (_, last) = ticks
        assert here == pytest.approx(first + (last - first) * (1 + math.log10(threshold) / 6))
        # A threshold to type: with three decimals it would be lower or higher by a few percent.
        assert float(page.inner_text("#chosen")) == pytest.approx(threshold, rel=0.005)


def test_the_share_of_images_that_show_it_moves_the_precision_alone(
    browser: Browser, folder: Path
) -> None:
    curve = report_data(folder)["curves"][0]
    at = next(i for i, point in enumerate(curve["points"]) if point[2] and point[1])
    _, _, _, _, _, _, recall, _, _, alarms, _, _ = curve["points"][at]
    with show(browser, folder) as page:
        page.goto((folder / "report.html").as_uri())
        page.eval_on_selector(
            "#threshold",
            "(slider, at) => { slider.value = at; slider.dispatchEvent(new Event('input')) }",
            at,
        )
        before = numbers(page)
        page.fill("#share", "1")
        after = numbers(page)
    assert float(after["precision"].removesuffix(" %")) == pytest.approx(
        recall / (recall + 99 * alarms) * 100, abs=0.06
    )
    assert {name: text for name, text in after.items() if name != "precision"} == {
        name: text for name, text in before.items() if name != "precision"
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_it_fits_a_telephone_and_the_dark(
    browser: Browser, folder: Path, width: int, scheme: str
) -> None:
    with show(browser, folder, width=width, scheme=scheme) as page:
        page.goto((folder / "report.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == (
            "rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 23, 27)"
        )
        if AXE.exists():
            # Playwright's own way to add a script needs what the report's policy forbids.
            page.evaluate(AXE.read_text(encoding="utf-8"))
            found = page.evaluate(
                "axe.run().then(found => found.violations.map(each => [each.id,"
                " each.nodes[0].html]))"
            )
            assert found == []
