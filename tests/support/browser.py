"""A real browser, for the pages that the project makes."""

import base64
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.machine import needs


@contextmanager
def launched() -> Iterator[Browser]:
    if not shutil.which("chromium"):
        needs(chromium="chromium")
    with sync_playwright() as playwright:
        # Chromium's sandbox doesn't work for root, whom installing it takes.
        options = [
            "--disable-background-networking",
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
        ]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=options)
        yield browser
        browser.close()


@contextmanager
def opened(
    browser: Browser, width: int = 1280, scheme: Any = "light", address: str = "http://127.0.0.1"
) -> Iterator[Page]:
    """A page on which nothing may fail, and which may ask only the address that it came from."""
    context = browser.new_context(
        viewport={"width": width, "height": 800},
        color_scheme=scheme,
        permissions=["clipboard-read", "clipboard-write"],
    )
    page = context.new_page()
    problems = list[str]()
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "console",
        # A refused request is no fault of the page; the browser reports it all the same.
        lambda line: (
            problems.append(line.text)
            if line.type == "error" and "Failed to load resource" not in line.text
            else None
        ),
    )
    own = (address, "blob:", "data:")
    page.on(
        "request",
        lambda request: None if request.url.startswith(own) else problems.append(request.url),
    )
    yield page
    # A handler that is still fetching would fail whatever the next test does.
    page.unroute_all(behavior="ignoreErrors")
    context.close()
    assert problems == []


# Draws a file on white and reads the canvas, whose colours are sRGB.
_SHOWN = """async data => {
  const image = new Image();
  const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0));
  // Unlike decode(), it takes a file that lacks its end.
  await new Promise((loaded, failed) => {
    image.onload = loaded;
    image.onerror = failed;
    image.src = URL.createObjectURL(new Blob([bytes]));
  });
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
  const text = Array.from(pixels, value => String.fromCharCode(value)).join("");
  return [canvas.height, canvas.width, btoa(text)];
}"""


def shown_pixels(page: Page, data: bytes) -> NDArray[np.uint8]:
    """uint8 [h, w, 3] of an image file on white, as the browser shows it."""
    height, width, text = page.evaluate(_SHOWN, base64.b64encode(data).decode())
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)[..., :3]
