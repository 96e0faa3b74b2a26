import importlib.util
import shutil

import numpy as np
import pytest
from numpy.typing import NDArray

from classifier.images.formats import allow_heic
from tests.support.golden import FOLDER


@pytest.fixture
def allowed() -> None:
    """HEIC is taken; the next test begins without it."""
    allow_heic()


@pytest.fixture(scope="session")
def shown() -> dict[str, NDArray[np.uint8]]:
    """What Chromium shows, its own if it is installed, else as it was recorded: by name, uint8 [64,
    64, 3].
    """
    if shutil.which("chromium") and importlib.util.find_spec("playwright"):
        from tests.golden.colours import shown_by_chromium

        return shown_by_chromium()
    with np.load(FOLDER / "colours.npz") as file:
        return dict(file)
