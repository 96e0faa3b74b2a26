"""Files without their end: shown if little is missing, as a browser does it; otherwise refused."""

import re
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from classifier.contract.bundle import ImageSettings
from classifier.contract.errors import ApiError
from classifier.images.cut_off import MIN_SHARE
from classifier.images.opened_image import open_image
from tests.support.images import encoded, png_chunk, soft_image

SETTINGS = ImageSettings(size=64, interpolation="bicubic", resize_mode="squash", max_batch=1)
IMAGE = soft_image(128, 128)
PALETTE = IMAGE.quantize(64)
GREY = np.asarray(IMAGE.convert("L"))


def pixels(data: bytes) -> NDArray[np.int_]:
    (square,) = open_image(data).decode(SETTINGS).squares
    return square.astype(int)


def refusal(data: bytes) -> str:
    with pytest.raises(ApiError) as caught:
        pixels(data)
    assert (caught.value.status, caught.value.code) == (400, "invalid_image")
    return caught.value.message


def interlaced_png(image: Image.Image) -> bytes:
    """https://www.w3.org/TR/png-3/#8InterlaceMethods"""
    values = np.asarray(image)
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)]
    rows = b"".join(
        b"\0" + row.tobytes()
        for x, y, across, down in (*passes, (0, 1, 1, 2))
        for row in values[y::down, x::across]
    )
    header = struct.pack(">IIBBBBB", *image.size, 8, 2, 0, 0, 1)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def animated(kind: str, **options: Any) -> bytes:
    return encoded(PALETTE, kind, save_all=True, append_images=[PALETTE.rotate(90)], **options)


BY_ROWS = {
    "PNG": encoded(IMAGE),
    "PNG with alpha": encoded(soft_image(128, 128, 4)),
    "PNG with a palette": encoded(PALETTE),
    "PNG with transparency": encoded(PALETTE, transparency=3),
    "PNG of 1 bit": encoded(IMAGE.convert("1")),
    "PNG of 16 bits": encoded(Image.fromarray(GREY.astype(np.uint16) * 257)),
    "interlaced PNG": interlaced_png(IMAGE),
    "GIF": encoded(PALETTE, "GIF", interlace=0),
    "GIF with transparency": encoded(PALETTE, "GIF", interlace=0, transparency=3),
    "interlaced GIF": encoded(PALETTE, "GIF", interlace=1),
    "BMP": encoded(IMAGE, "BMP"),
}


@pytest.mark.parametrize("name", BY_ROWS)
def test_rows_that_are_there_are_shown_if_there_are_enough(name: str) -> None:
    whole = pixels(BY_ROWS[name])
    for percent in range(5, 100, 5):
        cut = BY_ROWS[name][: len(BY_ROWS[name]) * percent // 100]
        if percent < 100 * MIN_SHARE:
            told = re.search(r"cut off: only (\d+)% of it is there", refusal(cut))
            assert told, name
            assert abs(int(told[1]) - percent) < 10
        elif percent > 94:
            far = np.abs(pixels(cut) - whole).max(axis=(1, 2))
            if name.startswith("interlaced"):
                assert far.max() < 60
            else:
                assert (far > 0).mean() < 1.1 - percent / 100


@pytest.mark.parametrize("name", [name for name in BY_ROWS if "PNG" in name])
@pytest.mark.parametrize("missing", [1, 4, 11, 12, 13, 16, 20])
def test_a_png_without_its_last_20_bytes_has_lost_nothing(name: str, missing: int) -> None:
    np.testing.assert_array_equal(pixels(BY_ROWS[name][:-missing]), pixels(BY_ROWS[name]))


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_progressive_jpeg_that_lacks_little_has_lost_nothing_but_detail(mode: str) -> None:
    data = encoded(IMAGE.convert(mode), "JPEG", quality=95, progressive=True)
    whole = pixels(data)
    for percent in (96, 98, 99):
        assert np.abs(pixels(data[: len(data) * percent // 100]) - whole).max() < 12
    assert re.search(r"only [78]\d% of it", refusal(data[: len(data) * 80 // 100]))
    assert "cut off" in refusal(data[: len(data) * 40 // 100])


def test_missing_rows_are_white() -> None:
    for name in ("PNG", "PNG with alpha", "PNG of 16 bits", "GIF"):
        data = BY_ROWS[name]
        assert pixels(data[: len(data) * 95 // 100])[-2:].min() == 255


def test_of_an_animation_only_the_first_frame_must_be_there() -> None:
    for kind in ("GIF", "PNG"):
        data = animated(kind)
        alone = pixels(encoded(PALETTE, kind))
        np.testing.assert_array_equal(pixels(data[: len(data) * 7 // 10]), alone)
    # The default image is never shown.
    data = animated("PNG", default_image=True)
    start = data.index(b"fcTL")
    assert "cut off before its first frame" in refusal(data[: start - 30])
    assert "cut off" in refusal(data[: start + 60])


@pytest.mark.parametrize(
    "data",
    [
        encoded(IMAGE, "WEBP"),
        encoded(IMAGE, "WEBP", lossless=True),
        encoded(soft_image(128, 128, 4), "WEBP"),
        animated("WEBP"),
        encoded(IMAGE, "AVIF"),
        encoded(soft_image(128, 128, 4), "AVIF"),
    ],
)
def test_a_webp_or_avif_tells_the_share_of_its_bytes(data: bytes) -> None:
    for percent in range(20, 100, 10):
        told = re.search(
            r"(\d+)% of its bytes are there", refusal(data[: len(data) * percent // 100])
        )
        assert told
        assert abs(int(told[1]) - percent) <= 1
    assert "99% of its bytes" in refusal(data[:-1])


def test_what_follows_an_image_changes_nothing() -> None:
    for kind in ("PNG", "GIF", "BMP", "JPEG", "WEBP", "AVIF"):
        data = encoded(IMAGE, kind)
        for extra in (b"\0" * 3000, b"PK\x03\x04" * 99, data[:50]):
            np.testing.assert_array_equal(pixels(data + extra), pixels(data))
