"""The README's picture and short animation of the page at work, from the real page:
docs/playground.webp and docs/playground.png.
"""

import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tools.bundles import MODELS
from tools.local.serve import load, running

OUT = Path("docs/playground.webp")
SIZE = (1120, 890)
MAX_BYTES = 2_000_000


def main() -> None:
    frames: list[Image.Image] = []
    durations: list[int] = []

    def shoot(page: Page, milliseconds: int) -> None:
        page.wait_for_timeout(350)
        with Image.open(io.BytesIO(page.screenshot())) as frame:
            frames.append(frame.convert("RGB"))
        durations.append(milliseconds)

    with running(load(MODELS / "demo")) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
        page.goto(url)
        page.wait_for_selector("#bars li")
        # The first picture waits for the process that decodes; the film shows the times after it.
        page.click("#samples button:nth-child(1)")
        page.wait_for_timeout(1000)
        shoot(page, 1500)
        page.screenshot(path=OUT.with_suffix(".png"))
        for number in (2, 3):
            page.click(f"#samples button:nth-child({number})")
            shoot(page, 1200)
        for text in ("a b", "a bl", "a blue flag"):
            page.fill(".entry input", text)
            shoot(page, 400)
        page.check("[value=each]", force=True)
        shoot(page, 1500)
        page.click("#sets summary")
        page.get_by_role("button", name="drawings").click()
        page.click("#samples button:nth-child(1)")
        shoot(page, 2500)
        page.click("#sets summary")
        page.check("[name=regions][value='3']", force=True)
        page.wait_for_selector("#heat:not([hidden])")
        shoot(page, 2500)
        browser.close()
    frames[0].save(
        OUT,
        save_all=True,
        append_images=frames[1:],
        duration=durations,
        loop=0,
        quality=70,
        method=6,
    )
    if OUT.stat().st_size > MAX_BYTES:
        raise SystemExit(f"{OUT} is larger than {MAX_BYTES} bytes.")


if __name__ == "__main__":
    main()
