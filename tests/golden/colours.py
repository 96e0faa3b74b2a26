"""Records how Chromium shows the files of tests/support's colour_files.py and cut_files.py:
colours.npz.

`python -m tests.golden.colours`, with chromium and playwright.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.support.browser import launched, shown_pixels
from tests.support.colour_files import all_files
from tests.support.cut_files import cut_files

RECORDED = Path(__file__).parent / "colours.npz"


def main() -> None:
    pixels = shown_by_chromium()
    np.savez_compressed(RECORDED, **pixels)  # type: ignore[arg-type]
    print(f"{RECORDED}: {len(pixels)} files")


def shown_by_chromium() -> dict[str, NDArray[np.uint8]]:
    """By name, uint8 [h, w, 3]."""
    files = all_files() | cut_files()
    with launched() as browser:
        page = browser.new_page()
        return {name: shown_pixels(page, data) for name, data in files.items()}


if __name__ == "__main__":
    main()
