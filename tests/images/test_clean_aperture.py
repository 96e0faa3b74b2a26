"""AVIF's `clap`: the part of an image that is shown."""

import io

import numpy as np
import pytest
from PIL import Image

from classifier.contract.bundle import ImageSettings
from classifier.images.decoder import DecodedImage
from classifier.images.opened_image import open_image
from dev import icc
from tests.support.images import encoded, exif_orientation, soft_image

SETTINGS = ImageSettings(size=64, interpolation="bicubic", resize_mode="shortest", max_batch=1)


def decoded(data: bytes) -> DecodedImage:
    return open_image(data).decode(SETTINGS)


@pytest.mark.parametrize(
    "box", [(0, 0, 64, 64), (16, 12, 80, 76), (10, 0, 90, 64), (1, 3, 65, 67)], ids=str
)
@pytest.mark.parametrize("orientation", [1, 6])
def test_an_avif_is_cropped_to_its_clean_aperture(
    box: tuple[int, int, int, int], orientation: int
) -> None:
    image = soft_image(100, 80)
    cropped = icc.cropped_avif(image, box, exif=exif_orientation(orientation))
    whole = Image.open(io.BytesIO(encoded(image, "AVIF", subsampling="4:4:4", quality=98)))
    expected = whole.convert("RGB").crop(box)
    if orientation == 6:
        expected = expected.transpose(Image.Transpose.ROTATE_270)
    shown = decoded(cropped)
    np.testing.assert_array_equal(shown.squares, decoded(encoded(expected)).squares)
    assert (shown.width, shown.height) == (box[2] - box[0], box[3] - box[1])


def test_an_aperture_outside_of_the_image_crops_nothing() -> None:
    image = soft_image(100, 80)
    for box in ((0, 0, 101, 80), (-2, 0, 50, 50), (0, 0, 0, 50)):
        np.testing.assert_array_equal(
            decoded(icc.cropped_avif(image, box)).squares,
            decoded(encoded(image, "AVIF", subsampling="4:4:4", quality=98)).squares,
        )
