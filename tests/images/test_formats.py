"""Files as people have them: broken metadata, cut ends, transparency of every kind, and files of
other formats.
"""

import base64
import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from classifier.contract.bundle import ImageSettings
from classifier.contract.errors import ApiError
from classifier.images.formats import inspect, name_format
from classifier.images.formats.image_file import MAX_PARTS, MAX_SCANS
from classifier.images.opened_image import open_image
from tests.support.pictures import encoded, picture, png, png_chunk, segment, with_png_chunks

SETTINGS = ImageSettings(size=64, interpolation="bicubic", resize_mode="shortest", max_batch=1)
PLAIN = picture(90, 70)
PNG = encoded(PLAIN)
WEBP = encoded(PLAIN, "WEBP", lossless=True)
JPEG = encoded(PLAIN, "JPEG", quality=90)
ORIENTATION = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"


def pixels(data: bytes) -> NDArray[np.uint8]:
    (square,) = open_image(data).decode(SETTINGS).squares
    return square


def refusal(data: bytes) -> ApiError:
    with pytest.raises(ApiError) as caught:
        pixels(data)
    return caught.value


def same(data: bytes, plain: bytes) -> None:
    np.testing.assert_array_equal(pixels(data), pixels(plain))


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
def test_broken_exif_is_no_reason_to_refuse_a_picture(exif: bytes) -> None:
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


@pytest.mark.parametrize(
    "options",
    [{}, {"progressive": True}, {"quality": 30}, {"subsampling": 0}, {"restart_marker_rows": 1}],
)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_without_its_last_bytes_is_shown_and_one_cut_at_60_percent_is_refused(
    options: dict[str, Any], mode: str
) -> None:
    source = picture(400, 300, 4 if mode == "CMYK" else 3)
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


def test_what_follows_the_picture_in_its_file_is_of_no_interest() -> None:
    for data in (PNG, JPEG, WEBP, encoded(PLAIN, "GIF"), encoded(PLAIN, "BMP")):
        same(data + b"<html>" * 1000, data)


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


def test_a_jpeg_of_several_pictures_is_a_jpeg() -> None:
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
    "form": (b'--xyz\r\nContent-Disposition: form-data; name="f"\r\n\r\n' + PNG, "form"),
    "data uri": (b"data:image/png;base64," + base64.b64encode(PNG), "data: URI"),
    "base64 png": (base64.b64encode(PNG), "base64"),
    "base64 jpeg": (base64.b64encode(JPEG), "base64"),
    "base64 webp": (base64.b64encode(WEBP), "base64"),
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
