"""One image in three formats, and what the model sees of a file."""

import numpy as np
import pytest
from numpy.typing import NDArray

from classifier.contract.bundle import ImageSettings
from classifier.contract.errors import ApiError
from classifier.images.opened_image import open_image
from tests.support.images import encoded, soft_image

SETTINGS = ImageSettings(size=64, interpolation="bicubic", resize_mode="shortest", max_batch=1)
PLAIN = soft_image(90, 70)
PNG = encoded(PLAIN)
WEBP = encoded(PLAIN, "WEBP", lossless=True)
JPEG = encoded(PLAIN, "JPEG", quality=90)


def pixels(data: bytes, settings: ImageSettings = SETTINGS) -> NDArray[np.uint8]:
    (square,) = open_image(data).decode(settings).squares
    return square


def refusal(data: bytes) -> ApiError:
    with pytest.raises(ApiError) as caught:
        pixels(data)
    return caught.value


def same(data: bytes, plain: bytes) -> None:
    np.testing.assert_array_equal(pixels(data), pixels(plain))


def distance(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> float:
    return float(np.abs(left.astype(int) - right.astype(int)).mean())
