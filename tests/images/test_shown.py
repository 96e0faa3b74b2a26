"""Files that lack their end, and animations: what is seen of them is what a browser shows, or the
still image.
"""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from classifier.contract.bundle import ImageSettings
from classifier.images.opened_image import open_image
from dev import icc
from tests.support import colour_files
from tests.support.cut_files import cut_files
from tests.support.images import encoded

SETTINGS = ImageSettings(
    size=colour_files.SIDE, interpolation="bicubic", resize_mode="shortest", max_batch=1
)
CUT = cut_files()


def pixels(data: bytes) -> NDArray[np.int_]:
    (square,) = open_image(data).decode(SETTINGS).squares
    return square.astype(int)


@pytest.mark.parametrize("name", [name for name in CUT if not name.startswith("JPEG")])
def test_of_a_cut_file_each_row_is_what_chromium_shows_but_the_one_it_ends_in(
    shown: dict[str, NDArray[np.uint8]], name: str
) -> None:
    far = np.abs(pixels(CUT[name]) - shown[name]).max(axis=(1, 2))
    assert (far > 0).sum() <= 1


@pytest.mark.parametrize("name", [name for name in CUT if name.startswith("JPEG")])
def test_of_a_cut_jpeg_at_least_the_rows_that_chromium_shows_are_the_same(
    shown: dict[str, NDArray[np.uint8]], name: str
) -> None:
    """Chromium leaves out all blocks next to a missing one; here only that is grey."""
    there = shown[name].min(axis=(1, 2)) < 255
    assert 0.7 <= there.mean() < 1
    far = np.abs(pixels(CUT[name]) - shown[name]).max(axis=(1, 2))
    assert far[there].max() <= 1


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "AVIF"])
@pytest.mark.parametrize("space", colour_files.RGB_SPACES)
def test_an_animations_first_frame_has_the_colours_of_the_same_still_image(
    kind: str, space: str
) -> None:
    """Chromium 156 passes over the profile of an animated WebP."""
    gamma = colour_files.RGB_SPACES[space]
    image = icc.in_space(colour_files.scene(), space, icc.power(gamma) if gamma else icc.curved)
    options = colour_files.FORMATS[kind] | {"icc_profile": icc.rgb_profile(space, gamma)}
    second = Image.new("RGB", image.size, (10, 200, 30))
    file = io.BytesIO()
    image.save(file, kind, save_all=True, append_images=[second], **options)
    far = np.abs(pixels(file.getvalue()) - pixels(encoded(image, kind, **options)))
    assert far.max() <= (12 if kind == "AVIF" else 0)
    assert far.mean() < 1
