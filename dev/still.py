"""The README's picture of the page, from the real page on the demo model: make data NAME=still."""

import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

from tools.bundles import DEMO, MODELS
from tools.local.serve import load, running

OUT = Path("docs/playground.png")
SIZE = (1120, 890)


def main() -> None:
    with running(load(MODELS / DEMO)) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
        page.goto(url)
        page.wait_for_selector("#bars li")
        # The first answer waits for the process that decodes, so show a later one.
        page.click("#samples button:nth-child(1)")
        page.wait_for_timeout(1500)
        page.screenshot(path=OUT)
        browser.close()


if __name__ == "__main__":
    main()
