"""Transparency becomes white, in every way that a file can have it."""

import struct
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.support.images import encoded, png, png_chunk
from tests.support.pixels import pixels, refusal, same


def test_transparent_pixels_are_white_whatever_colour_they_hide() -> None:
    hidden = Image.new("RGBA", (80, 80), (200, 0, 0, 0))
    assert pixels(encoded(hidden)).min() == 255


def test_half_transparent_pixels_mix_with_white_also_in_large_images() -> None:
    for side in (80, 2100):
        mixed = pixels(encoded(Image.new("RGBA", (side, side), (0, 0, 255, 128)), compress_level=1))
        assert np.abs(mixed[32, 32].astype(int) - [127, 127, 255]).max() <= 1


def test_palette_with_transparency_is_white_where_transparent() -> None:
    palette = Image.new("P", (80, 80), 1)
    palette.putpalette([9, 9, 9, 250, 0, 0])
    assert pixels(encoded(palette, transparency=1)).min() == 255
    assert tuple(pixels(encoded(palette))[0, 0]) == (250, 0, 0)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("colour", [0, 2, 3])
def test_transparency_is_white_in_every_mode_and_bit_depth_of_png(depth: int, colour: int) -> None:
    if (colour == 2 and depth < 8) or (colour == 3 and depth == 16):
        assert refusal(png(80, 80, depth, colour, bytes(80 * 80 * 6))).status == 400
        return
    most = (1 << depth) - 1
    other = most - (256 if depth == 16 else 0)
    rng = np.random.default_rng(depth)
    transparent = rng.random((80, 80)) < 0.5
    values = np.where(transparent, other, 0)
    samples = 3 if colour == 2 else 1
    rows = b"".join(b"\0" + packed(np.repeat(row, samples), depth) for row in values)
    palette = png_chunk(b"PLTE", bytes(3) + b"\x10\x20\x30" * most) if colour == 3 else b""
    if colour == 3:
        trns = bytes(255 * (i != other) for i in range(min(256, most + 1)))
    else:
        trns = struct.pack(f">{samples}H", *[other] * samples)
    file = png(80, 80, depth, colour, rows, palette + png_chunk(b"tRNS", trns))
    plain = encoded(Image.fromarray(np.where(transparent, 255, 0).astype(np.uint8)).convert("RGB"))
    same(file, plain)


def packed(values: NDArray[Any], depth: int) -> bytes:
    if depth == 16:
        return values.astype(">u2").tobytes()
    bits = ((values[:, None] >> np.arange(depth - 1, -1, -1)) & 1).astype(np.uint8).ravel()
    return np.packbits(bits).tobytes()


def test_only_the_exact_16_bit_value_is_transparent() -> None:
    for colour, samples in ((0, 1), (2, 3)):
        value = struct.pack(">H", 0x1234) * samples
        near = struct.pack(">H", 0x1235) * samples
        rows = (b"\0" + value * 40 + near * 40) * 80
        square = pixels(png(80, 80, 16, colour, rows, png_chunk(b"tRNS", value)))
        assert square[32, 5].tolist() == [255] * 3
        assert square[32, 60].tolist() == [0x12] * 3


def test_transparency_longer_than_the_palette_or_of_a_wrong_length_is_cut_or_passed_over() -> None:
    palette = png_chunk(b"PLTE", b"\x10\x20\x30" * 2)
    rows = (b"\0" + bytes(80)) * 80
    plain = encoded(Image.new("RGB", (80, 80), (16, 32, 48)))
    same(png(80, 80, 8, 3, rows, palette + png_chunk(b"tRNS", b"\xff" * 300)), plain)
    same(png(80, 80, 8, 3, rows, palette + png_chunk(b"tRNS", b"")), plain)
    same(png(80, 80, 8, 0, rows, png_chunk(b"tRNS", b"\0")), encoded(Image.new("L", (80, 80))))
    same(
        png(80, 80, 8, 4, (b"\0" + b"\x07\xff" * 80) * 80, png_chunk(b"tRNS", b"\0\x07")),
        encoded(Image.new("L", (80, 80), 7)),
    )


def test_around_a_frame_that_is_smaller_than_its_canvas_all_is_white() -> None:
    expected = np.full((64, 64, 3), 255, np.uint8)
    expected[10:30, 20:50] = (200, 0, 0)
    small = Image.new("RGB", (30, 20), (200, 0, 0))
    gif = encoded(small, "GIF")
    at = gif.index(b"\x2c")
    canvas = (
        gif[:6]
        + struct.pack("<HH", 64, 64)
        + gif[10:at]
        + b"\x2c"
        + struct.pack("<HH", 20, 10)
        + gif[at + 5 :]
    )
    np.testing.assert_array_equal(pixels(canvas), expected)
    webp = encoded(small, "WEBP", lossless=True)
    still = webp[12:]
    frame = (
        b"".join(value.to_bytes(3, "little") for value in (10, 5, 29, 19, 100)) + b"\x02" + still
    )
    chunks = b"VP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + (63).to_bytes(3, "little") * 2
    chunks += b"ANIM" + struct.pack("<I", 6) + bytes(6)
    chunks += (b"ANMF" + struct.pack("<I", len(frame)) + frame) * 2
    animated = b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks
    np.testing.assert_array_equal(pixels(animated), expected)
