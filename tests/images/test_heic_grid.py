"""HEIC in tiles, as phones write it, with what they tell of the whole image."""

import struct

import numpy as np
import pytest
from PIL import Image

from classifier.contract.bundle import ImageSettings
from classifier.contract.errors import ApiError
from classifier.images.decoder import DecodedImage
from classifier.images.opened_image import open_image
from dev import icc
from tests.support.images import encoded, soft_image

pytest.importorskip("pillow_heif")
from tests.support.heic_grid import Box, grid_heic

pytestmark = pytest.mark.usefixtures("allowed")
SETTINGS = ImageSettings(size=64, interpolation="bicubic", resize_mode="shortest", max_batch=1)
# Three columns and two rows of tiles, of which the last ones jut out.
WHOLE = soft_image(6, 5).resize((300, 200), Image.Resampling.BICUBIC)
PORTRAIT = (b"irot", b"\x03")
UPSIDE_DOWN = (b"irot", b"\x02")
LEFT_TO_RIGHT = (b"imir", b"\x01")
# 220 x 160 from (20, 30) on.
CLAP = (b"clap", struct.pack(">8i", 220, 1, 160, 1, -20, 1, 10, 1))
CUT = WHOLE.crop((20, 30, 240, 190))
TURN = Image.Transpose


def decoded(data: bytes) -> DecodedImage:
    return open_image(data).decode(SETTINGS)


def change(data: bytes, expected: Image.Image) -> float:
    square = decoded(data).squares[0].astype(int)
    return float(np.abs(square - decoded(encoded(expected)).squares[0]).mean())


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ([], WHOLE),
        ([PORTRAIT], WHOLE.transpose(TURN.ROTATE_270)),
        ([UPSIDE_DOWN], WHOLE.transpose(TURN.ROTATE_180)),
        ([LEFT_TO_RIGHT], WHOLE.transpose(TURN.FLIP_LEFT_RIGHT)),
        ([PORTRAIT, LEFT_TO_RIGHT], WHOLE.transpose(TURN.TRANSPOSE)),
        ([CLAP], CUT),
        ([CLAP, PORTRAIT], CUT.transpose(TURN.ROTATE_270)),
        ([CLAP, PORTRAIT, LEFT_TO_RIGHT], CUT.transpose(TURN.TRANSPOSE)),
    ],
    ids=[
        "plain",
        "portrait",
        "upside down",
        "mirrored",
        "portrait mirrored",
        "cut",
        "cut portrait",
        "cut portrait mirrored",
    ],
)
def test_tiles_show_what_the_same_pixels_show_plainly(
    properties: list[Box], expected: Image.Image
) -> None:
    assert change(grid_heic(WHOLE, *properties), expected) < 1


def test_tiles_in_display_p3_become_srgb() -> None:
    p3 = icc.in_space(WHOLE, "p3", icc.curved)
    file = grid_heic(p3, (b"colr", b"prof" + icc.rgb_profile("p3")), PORTRAIT)
    assert change(file, WHOLE.transpose(TURN.ROTATE_270)) < 1.5
    assert decoded(file).converted_from == "made for a test"
    assert change(grid_heic(p3), WHOLE) > 1.5


@pytest.mark.parametrize("percent", [99, 90, 50, 20])
def test_tiles_without_the_files_end_are_refused_with_the_share(percent: int) -> None:
    data = grid_heic(WHOLE)
    share = len(data) * percent // 100
    with pytest.raises(ApiError, match=rf"cut off: {100 * share // len(data)}% of its bytes"):
        decoded(data[:share])


def test_the_whole_size_is_checked_before_anything_is_decoded() -> None:
    for size, status in (((9000, 9000), 413), ((70_000, 2), 413)):
        with pytest.raises(ApiError) as caught:
            open_image(grid_heic(WHOLE, told=size))
        assert caught.value.status == status


@pytest.mark.parametrize("size", [(30, 20), (310, 210), (3_000, 3_000), (60_000, 60_000)])
def test_a_grid_that_tells_another_size_than_the_image_is_refused(size: tuple[int, int]) -> None:
    for file in (
        grid_heic(WHOLE, told=size),
        grid_heic(WHOLE, merged=size),
        grid_heic(WHOLE, told=(7_000, 7_000), merged=size),
    ):
        with pytest.raises(ApiError) as caught:
            decoded(file)
        assert caught.value.status in (400, 413)
