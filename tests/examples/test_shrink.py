import functools
import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageOps

import client
from classifier.contract.bundle import ImageSettings
from classifier.images.opened_image import open_image
from dev import icc
from tests.support.images import encoded, exif_orientation, png_header, soft_image
from tests.support.requests import ROOT

SAMPLES = ROOT / "examples" / "images"
QUICK = Image.Quantize.FASTOCTREE


def upright(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        return ImageOps.exif_transpose(image).convert("RGBA")


@functools.cache
def photo() -> Image.Image:
    return soft_image(1500, 1000)


@functools.cache
def clear() -> Image.Image:
    image = photo().copy()
    image.putalpha(soft_image(1500, 1000, bands=1, seed=1))
    return image


def turned(orientation: int) -> bytes:
    return encoded(photo(), "JPEG", quality=95, exif=exif_orientation(orientation))


# Made by the test that takes it, since encoding them all takes seconds.
LARGE: dict[str, tuple[Callable[[], bytes], str]] = {
    f"JPEG turned {turn}": (functools.partial(turned, turn), "JPEG") for turn in range(1, 9)
} | {
    "PNG turned": (lambda: encoded(photo(), exif=exif_orientation(6)), "JPEG"),
    "WebP turned": (
        lambda: encoded(photo(), "WEBP", quality=95, exif=exif_orientation(8)),
        "JPEG",
    ),
    "grey": (lambda: encoded(photo().convert("L"), "JPEG"), "JPEG"),
    "palette": (lambda: encoded(photo().quantize(256, QUICK)), "JPEG"),
    "CMYK": (lambda: encoded(photo().convert("CMYK"), "JPEG", quality=95), "JPEG"),
    "transparent": (lambda: encoded(clear()), "PNG"),
    "turned and transparent": (
        lambda: encoded(clear(), "WEBP", quality=95, exif=exif_orientation(5)),
        "PNG",
    ),
}


@pytest.mark.parametrize("name", LARGE)
def test_a_large_image_is_shrunk_and_looks_the_same(name: str) -> None:
    make, kind = LARGE[name]
    data = make()
    small, pixels = client.shrink(data)
    with Image.open(io.BytesIO(small)) as image:
        assert (image.format, min(image.size), max(image.size), pixels) == (
            kind,
            512,
            768,
            512 * 768,
        )
        assert image.getexif().get(0x0112, 1) == 1
    whole = upright(data)
    assert (whole.width > whole.height) == (image.width > image.height)
    # Both at about the encoder's size, over white, because transparent pixels have no colour.
    seen = [
        Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).resize((64, 64))
        for image in (upright(small), whole)
    ]
    difference = np.abs(np.asarray(seen[0], int) - np.asarray(seen[1], int))
    assert difference.mean() < 2


@functools.cache
def wide() -> Image.Image:
    return icc.in_space(photo(), "p3", icc.curved)


ADOBE = icc.rgb_profile("adobe", 1.5)
GREY = icc.grey_profile(1.0)
COLOURED: dict[str, Callable[[], bytes]] = {
    "RGB profile, JPEG": lambda: encoded(wide(), "JPEG", quality=95, icc_profile=ADOBE),
    "RGB profile, PNG": lambda: encoded(wide(), icc_profile=icc.rgb_profile("prophoto", 1.8)),
    "RGB profile, palette": lambda: encoded(wide().quantize(64, QUICK), icc_profile=ADOBE),
    "RGB profile, WebP": lambda: encoded(wide(), "WEBP", icc_profile=ADOBE),
    "grey profile": lambda: encoded(photo().convert("L"), icc_profile=GREY),
    "grey profile and transparency": lambda: encoded(clear().convert("LA"), icc_profile=GREY),
    "inks": lambda: encoded(
        photo().convert("CMYK"), "JPEG", quality=95, icc_profile=icc.cmyk_profile(3)
    ),
    "cICP": lambda: icc.png_with(wide(), icc.cicp(9, 1), icc.gama(1)),
    "cICP and a profile": lambda: icc.png_with(
        wide(), icc.cicp(9, 1), icc_profile=icc.rgb_profile("srgb")
    ),
    "gAMA": lambda: icc.png_with(photo(), icc.gama(1)),
    "gAMA and cHRM": lambda: icc.png_with(photo(), icc.gama(1), icc.chrm("prophoto")),
    "gAMA that doesn't count": lambda: icc.png_with(photo(), icc.gama(1), (b"sRGB", b"\0")),
    "gAMA and a broken profile": lambda: icc.png_with(
        photo(), icc.gama(1), icc.iccp(b"broken" * 50)
    ),
    "gAMA and an sRGB chunk of no intent": lambda: icc.png_with(
        photo(), icc.gama(1), (b"sRGB", b"\x09")
    ),
    "two gAMA chunks": lambda: icc.png_with(photo(), icc.gama(1), icc.gama(0.45455)),
    "RGB profile, BMP": lambda: icc.bmp_with(wide(), ADOBE),
    "AVIF": lambda: icc.avif_with(wide(), 9, 8, speed=10),
}


@pytest.mark.parametrize("name", COLOURED)
def test_a_shrunk_image_keeps_its_colours(name: str) -> None:
    settings = ImageSettings(size=64, interpolation="bicubic", resize_mode="squash", max_batch=1)
    large = COLOURED[name]()
    small, _ = client.shrink(large)
    whole, shrunk = (open_image(data).decode(settings) for data in (large, small))
    difference = whole.squares[0].astype(int) - shrunk.squares[0].astype(int)
    assert np.abs(difference).mean() < 3
    assert whole.converted_from == shrunk.converted_from
    assert (whole.converted_from is None) == (name == "gAMA that doesn't count")


@pytest.mark.parametrize(
    "data",
    [
        (SAMPLES / "dog.jpg").read_bytes(),
        encoded(soft_image(2000, 512)),
        encoded(
            Image.fromarray(
                np.random.default_rng(0).integers(0, 65536, (700, 700), dtype=np.uint16)
            )
        ),
        encoded(Image.new("RGB", (1200, 1200), "red")),
        png_header(5000, 5000),
        b"no image at all",
        b"",
    ],
    ids=["a small file", "a short side", "16 bits", "few bytes", "cut off", "text", "nothing"],
)
def test_a_small_or_unreadable_file_is_sent_unchanged(data: bytes) -> None:
    assert client.shrink(data)[0] == data


def test_a_small_file_with_many_pixels_is_shrunk() -> None:
    data = encoded(Image.new("L", (5000, 4000), 128), "WEBP")
    assert len(data) < client.SMALL_FILE_BYTES
    assert client.shrink(data)[1] == 640 * 512
