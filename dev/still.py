"""The images of the page and of the report, from the real ones: make data NAME=still."""

import shutil
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from dev.demo_model.labelled import main as draw
from tools.bundles import DEMO, MODELS
from tools.evaluate.__main__ import REPORT
from tools.evaluate.__main__ import main as evaluate
from tools.local.serve import load, running

DRAWINGS = Path("build/drawings")
PAGE = Path("docs/playground.png")
REPORT_IMAGE = Path("docs/report.png")
# The last part of the report that the image shows.
LAST = "Precision and recall over the threshold"


def page_still(browser: Browser) -> None:
    with running(load(MODELS / DEMO)) as url:
        page = browser.new_page(viewport={"width": 1120, "height": 890})
        page.goto(url)
        page.wait_for_selector("#bars li")
        # The first answer waits for the process that decodes, so show a later one.
        page.click("#samples button:nth-child(1)")
        page.wait_for_timeout(1500)
        page.screenshot(path=PAGE)


def report_still(browser: Browser) -> None:
    if not DRAWINGS.exists():
        draw([str(DRAWINGS)])
    evaluate([str(DRAWINGS), "--classifier", "drawings", "--precision", "0.8"])
    page = browser.new_page(viewport={"width": 1000, "height": 800})
    page.goto(REPORT.resolve().as_uri())
    last = page.locator("section", has_text=LAST).bounding_box()
    assert last
    size = {"x": 0, "y": 0, "width": 1000, "height": last["y"] + last["height"]}
    page.screenshot(path=REPORT_IMAGE, full_page=True, clip=size)


def main() -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page_still(browser)
        report_still(browser)
        browser.close()


if __name__ == "__main__":
    main()
