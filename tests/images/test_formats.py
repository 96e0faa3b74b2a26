"""Files as people have them: cut off, of other formats, or with too many parts."""

import base64
import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from classifier.contract.errors import ApiError
from classifier.images.formats import inspect, name_format
from classifier.images.formats.image_file import MAX_PARTS, MAX_SCANS
from classifier.images.opened_image import open_image
from tests.support.images import encoded, png, png_chunk, segment, soft_image, with_png_chunks
from tests.support.pixels import (
    JPEG,
    PLAIN,
    PNG,
    SETTINGS,
    WEBP,
    pixels,
    refusal,
    same,
)


@pytest.mark.parametrize(
    "options",
    [{}, {"progressive": True}, {"quality": 30}, {"subsampling": 0}, {"restart_marker_rows": 1}],
)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_without_its_last_bytes_is_shown_and_one_cut_at_60_percent_is_refused(
    options: dict[str, Any], mode: str
) -> None:
    source = soft_image(400, 300, 4 if mode == "CMYK" else 3)
    # Four bands of noise, so that the file's last bytes matter to each.
    source = (
        Image.frombytes("CMYK", source.size, source.tobytes())
        if mode == "CMYK"
        else source.convert(mode)
    )
    whole = encoded(source, "JPEG", **options)
    assert np.abs(pixels(whole[:-2]).astype(int) - pixels(whole)).mean() == 0
    for missing in (1, 2, 3, 5):
        assert np.abs(pixels(whole[:-missing]).astype(int) - pixels(whole)).mean() < 0.5
    for share in (0.2, 0.4, 0.6, 0.7):
        assert "cut off" in refusal(whole[: int(len(whole) * share)]).message
    if not options.get("progressive") and mode != "CMYK":
        assert "cut off" in refusal(whole[: len(whole) * 6 // 10] + b"\xff\xd9").message


def test_a_grey_jpeg_is_not_taken_for_one_that_is_cut_off() -> None:
    for mode in ("L", "RGB"):
        grey = Image.new(mode, (200, 150), 128 if mode == "L" else (128, 128, 128))
        assert abs(int(pixels(encoded(grey, "JPEG")).mean()) - 128) <= 1


def test_what_follows_the_image_in_its_file_is_of_no_interest() -> None:
    for data in (PNG, JPEG, WEBP, encoded(PLAIN, "GIF"), encoded(PLAIN, "BMP")):
        same(data + b"<html>" * 1000, data)


def test_a_jpeg_of_several_images_is_a_jpeg() -> None:
    file = io.BytesIO()
    PLAIN.save(file, "MPO", save_all=True, append_images=[PLAIN.rotate(90)])
    opened = open_image(file.getvalue())
    assert opened.format == "JPEG"
    assert len(opened.decode(SETTINGS).squares) == 1


def test_details_tell_the_files_own_size() -> None:
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF"):
        opened = open_image(encoded(PLAIN, kind))
        assert (opened.file.width, opened.file.height) == (90, 70)
        decoded = opened.decode(SETTINGS)
        assert (decoded.format, decoded.width, decoded.height) == (kind, 90, 70)


def heic(brand: bytes, *others: bytes) -> bytes:
    return (
        struct.pack(">I", 16 + 4 * len(others))
        + b"ftyp"
        + brand
        + bytes(4)
        + b"".join(others)
        + bytes(99)
    )


OTHERS = {
    **{
        f"heic {brand.decode()}": (heic(brand), "HEIC")
        for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")
    },
    "heic mif1": (heic(b"mif1", b"mif1", b"MiHE", b"heic"), "HEIC"),
    "heic msf1": (heic(b"msf1", b"msf1", b"hevc"), "HEIC"),
    "tiff": (encoded(PLAIN, "TIFF"), "TIFF"),
    "big-endian tiff": (b"MM\0*\0\0\0\x08", "TIFF"),
    "big tiff": (b"II+\0\x08\0\0\0", "TIFF"),
    "jxl": (b"\xff\x0a\xfa\x1f", "JPEG XL"),
    "jxl in boxes": (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    "jp2": (encoded(PLAIN, "JPEG2000"), "JPEG 2000"),
    "j2k": (b"\xff\x4f\xff\x51\0", "JPEG 2000"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
    "svg with a head": (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- made -->\n<svg/>', "SVG"),
    "pdf": (b"%PDF-1.7\n", "PDF"),
    "mp4": (heic(b"isom", b"mp41"), "video"),
    "mov": (heic(b"qt  "), "video"),
    "webm": (b"\x1a\x45\xdf\xa3\x01", "video"),
    "avi": (b"RIFF\0\0\0\0AVI LIST", "video"),
    "gzip": (b"\x1f\x8b\x08" + bytes(20), "gzip"),
    "zip": (b"PK\x03\x04" + bytes(20), "ZIP"),
    "html": (b"\n<!DOCTYPE html><html>", "HTML"),
    "form": (
        b'--xyz\r\nContent-Disposition: form-data; name="f"\r\n\r\n' + PNG,
        "names the form's boundary",
    ),
    "data uri": (b"data:image/png;base64," + base64.b64encode(PNG), "data: URI"),
    "base64 png": (base64.b64encode(PNG), "base64"),
    "base64 jpeg": (base64.b64encode(JPEG), "base64"),
    "hexadecimal png": (PNG.hex().encode(), "hexadecimal"),
    **{
        f"hexadecimal as base64 {text[:3]}": (base64.b64decode(text), "hexadecimal")
        for text in (
            PNG.hex()[:80],
            PNG.hex()[:80].upper(),
            JPEG.hex()[:80],
            JPEG.hex()[:80].upper(),
        )
    },
    "byte order mark": (b"\xef\xbb\xbf" + JPEG, "byte order mark"),
    "line in front": (b"\r\n" + PNG, "white space"),
    "base64 webp": (base64.b64encode(WEBP), "base64"),
    "base64 heic": (base64.b64encode(heic(b"heic", b"mif1", b"heic")), "base64"),
    **{
        f"base64 {kind}": (base64.b64encode(encoded(PLAIN, kind)), "base64")
        for kind in ("GIF", "AVIF")
    },
    **{
        f"base64 BMP of {side} pixels": (
            base64.b64encode(encoded(PLAIN.resize((side, side)), "BMP")),
            "base64",
        )
        for side in (4, 5, 6, 7, 8)
    },
    "a file's name": (b"@photos/a b.jpg\n", "a file's name"),
    "path": (b"C:\\fakepath\\IMG (1).JPEG", "a file's name"),
    "address": (b"https://example.org/a.jpg", "address"),
    "json": (b'{"image_data": "x"}', "JSON"),
}


@pytest.mark.parametrize(("data", "name"), OTHERS.values(), ids=OTHERS)
def test_other_files_are_named_for_what_they_are(data: bytes, name: str) -> None:
    error = refusal(data)
    assert (error.status, error.code) == (415, "unsupported_media_type")
    assert f"{name}" in error.message
    assert (
        error.message
        == f"{name_format(data)} Images are taken as JPEG, PNG, GIF, BMP, WEBP and AVIF."
    )


def test_too_many_parts_are_refused_before_anything_is_decoded() -> None:
    parts = MAX_PARTS + 1
    for data, word in (
        (with_png_chunks(PNG, png_chunk(b"teXt", b"") * parts), "chunks"),
        (JPEG[:2] + segment(0xFE, b"") * parts + JPEG[2:], "segments"),
        (JPEG[:2] + segment(0xE1, b"Exif\0\0") * parts + JPEG[2:], "segments"),
        (JPEG[:-2] + JPEG[JPEG.rindex(b"\xff\xda") :][:20] * (MAX_SCANS + 1), "scans"),
        (WEBP[:12] + b"abcd\0\0\0\0" * parts + WEBP[12:], "chunks"),
        (b"GIF89a\x09\0\x09\0\0\0\0" + b"\x21\xfe\x01a\0" * parts, "blocks"),
        (avif_with_items(100_000), "items"),
        (encoded(PLAIN, "AVIF")[:32] + b"\0\0\0\x08free" * parts, "boxes"),
    ):
        with pytest.raises(ApiError, match=word):
            inspect(data)


def avif_with_items(count: int) -> bytes:
    location = (
        b"iloc" + bytes(4) + b"\x44\0" + struct.pack(">H", count & 0xFFFF) + bytes(14 * count)
    )
    inner = bytes(4) + struct.pack(">I", 4 + len(location)) + location
    return heic(b"avif", b"avif")[:20] + struct.pack(">I", 8 + len(inner)) + b"meta" + inner


@pytest.mark.parametrize("side", [65_536, 50_000_000])
def test_a_side_longer_than_65535_is_refused(side: int) -> None:
    for width, height in ((1, side), (side, 1)):
        assert refusal(png(width, height, 8, 2, b"")).status == 413
