"""Metadata as programs write it: EXIF, orientations, XMP and profiles, whole or broken."""

import zlib

import numpy as np
import pytest
from PIL import Image

from tests.support.images import encoded, png_chunk, segment, with_png_chunks
from tests.support.pixels import JPEG, PLAIN, PNG, WEBP, pixels, same

ORIENTATION = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"


def raw_profile(exif: bytes) -> bytes:
    return (
        b"Raw profile type exif\0" + b"\nexif\n      %d\n" % len(exif) + exif.hex().encode() + b"\n"
    )


GARBAGE = [
    b"",
    b"Exif\0\0",
    b"Exif\0\0no tiff",
    ORIENTATION[:9],
    b"II*\0\xff\xff\xff\xff",
    bytes(70_000),
]


@pytest.mark.parametrize("exif", GARBAGE, ids=range(len(GARBAGE)))
def test_broken_exif_is_no_reason_to_refuse_an_image(exif: bytes) -> None:
    same(encoded(PLAIN, "WEBP", lossless=True, exif=exif or b"x"), WEBP)
    same(with_png_chunks(PNG, png_chunk(b"eXIf", exif)), PNG)
    same(with_png_chunks(PNG, png_chunk(b"tEXt", raw_profile(exif)[:-4] + b"zz")), PNG)
    same(JPEG[:2] + segment(0xE1, b"Exif\0\0" + exif[:60_000]) + JPEG[2:], JPEG)
    avif = encoded(PLAIN, "AVIF", exif=ORIENTATION)
    same(avif.replace(ORIENTATION, (exif + bytes(99))[: len(ORIENTATION)]), avif)


def test_orientation_is_found_wherever_programs_write_it() -> None:
    turned = pixels(encoded(PLAIN.transpose(Image.Transpose.ROTATE_270)))
    profile = raw_profile(b"Exif\0\0" + ORIENTATION)
    key, text = profile.split(b"\0", 1)
    for chunk in (
        png_chunk(b"eXIf", ORIENTATION),
        png_chunk(b"tEXt", profile),
        png_chunk(b"zTXt", key + b"\0\0" + zlib.compress(text)),
    ):
        np.testing.assert_array_equal(pixels(with_png_chunks(PNG, chunk)), turned)
    np.testing.assert_array_equal(
        pixels(encoded(PLAIN, "WEBP", lossless=True, exif=ORIENTATION)), turned
    )
    upright = pixels(
        encoded(PLAIN.transpose(Image.Transpose.ROTATE_270), "JPEG", quality=90)
    ).astype(int)
    turned_jpeg = JPEG[:2] + segment(0xE1, b"Exif\0\0" + ORIENTATION) + JPEG[2:]
    assert np.abs(pixels(turned_jpeg) - upright).mean() < 5


def test_an_orientation_in_xmp_alone_turns_nothing_as_in_browsers() -> None:
    xmp = b"<x:xmpmeta><rdf:Description tiff:Orientation='6' tiff:Orientation=\"6\"/></x:xmpmeta>"
    text = png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    same(with_png_chunks(PNG, text), PNG)
    same(encoded(PLAIN, "WEBP", lossless=True, xmp=xmp), WEBP)
    same(JPEG[:2] + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp) + JPEG[2:], JPEG)
    same(encoded(PLAIN, "AVIF", xmp=xmp), encoded(PLAIN, "AVIF"))


@pytest.mark.parametrize(
    "name",
    [b"pHYs", b"gAMA", b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"tRNS", b"tIME", b"vpAg"],
)
def test_a_wrong_checksum_of_a_chunk_that_is_no_pixels_is_passed_over(name: bytes) -> None:
    same(with_png_chunks(PNG, png_chunk(name, bytes(9))[:-1] + b"x"), PNG)


def test_metadata_may_be_long_and_may_inflate() -> None:
    flood = zlib.compress(bytes(20_000_000), 9)
    for chunk in (
        png_chunk(b"iCCP", b"p\0\0" + flood),
        png_chunk(b"zTXt", b"k\0\0" + flood),
        png_chunk(b"zTXt", b"Raw profile type exif\0\0" + flood),
        png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\x01\0\0\0" + flood),
        png_chunk(b"tEXt", b"k\0" + b"a" * 3_000_000),
    ):
        same(with_png_chunks(PNG, chunk), PNG)
    same(JPEG[:2] + segment(0xE2, b"ICC_PROFILE\0\x01\xff" + bytes(65_000)) * 40 + JPEG[2:], JPEG)
    same(JPEG[:2] + b"\xff" * 1_000_000 + JPEG[2:], JPEG)
