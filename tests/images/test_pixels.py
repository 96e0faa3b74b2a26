import time

import numpy as np
import pytest
from PIL import Image

from classifier.contract.errors import ApiError
from classifier.images.opened_image import open_image
from tests.support.golden import golden_pixels
from tests.support.images import SIZES, as_held, encoded, png_header, soft_image
from tests.support.pixels import SETTINGS, distance, pixels, refusal


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_pixels_equal_those_of_open_clip(size: tuple[int, int]) -> None:
    np.testing.assert_array_equal(pixels(encoded(soft_image(*size))), golden_pixels(*size))


@pytest.mark.parametrize("size", [(100, 75), (30, 90)])
def test_squash_takes_the_whole_image(size: tuple[int, int]) -> None:
    whole = soft_image(*size).resize((64, 64), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(
        pixels(encoded(soft_image(*size)), SETTINGS.model_copy(update={"resize_mode": "squash"})),
        whole,
    )


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF"])
def test_every_format_gives_about_the_same_pixels(kind: str) -> None:
    source = Image.fromarray(np.asarray(soft_image(6, 5))).resize(
        (96, 80), Image.Resampling.BICUBIC
    )
    assert distance(pixels(encoded(source, kind)), pixels(encoded(source))) < 6
    assert open_image(encoded(source, kind)).format == kind


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright(orientation: int) -> None:
    upright = soft_image(90, 70)
    lying, exif = as_held(upright, orientation)
    assert distance(pixels(encoded(lying, exif=exif)), pixels(encoded(upright))) < 1


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    grey = Image.fromarray(np.full((80, 80), 257 * 100, np.uint16))
    np.testing.assert_array_equal(pixels(encoded(grey)), 100)


def test_cmyk_jpeg_is_seen_in_its_colours() -> None:
    cmyk = Image.new("RGB", (80, 80), (250, 10, 10)).convert("CMYK")
    assert (
        distance(pixels(encoded(cmyk, "JPEG")), np.full((64, 64, 3), [250, 10, 10], np.uint8)) < 8
    )


def test_one_bit_and_grey_images_become_rgb() -> None:
    assert pixels(encoded(Image.new("1", (80, 80), 1))).min() == 255
    np.testing.assert_array_equal(pixels(encoded(Image.new("L", (80, 80), 77))), 77)


def test_an_animation_is_seen_at_its_first_frame() -> None:
    frames = [Image.new("RGB", (80, 80), c) for c in ((255, 0, 0), (0, 0, 255))]
    assert tuple(
        pixels(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))[0, 0]
    ) == (255, 0, 0)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L"])
def test_an_animated_png_is_seen_at_its_first_frame_even_if_its_default_image_is_none(
    mode: str,
) -> None:
    hidden, first, second = (soft_image(90, 70, seed=i).convert(mode) for i in range(3))
    if mode == "P":
        hidden, second = (
            image.quantize(palette=first)
            for image in (soft_image(90, 70, seed=0), soft_image(90, 70, seed=2))
        )
    options = {"save_all": True, "append_images": [first, second]}
    alone = pixels(encoded(first, "PNG"))
    assert np.array_equal(pixels(encoded(hidden, "PNG", **options, default_image=True)), alone)
    assert np.array_equal(pixels(encoded(hidden, "PNG", **options)), pixels(encoded(hidden, "PNG")))


def test_a_large_jpeg_decoded_smaller_shows_the_same() -> None:
    large = soft_image(60, 45).resize((2400, 1800), Image.Resampling.BICUBIC)
    assert (
        distance(
            pixels(encoded(large, "JPEG", quality=95)),
            pixels(encoded(large.resize((600, 450), Image.Resampling.BOX))),
        )
        < 2
    )


def test_a_strip_costs_no_more_than_its_middle() -> None:
    strip = encoded(soft_image(10_000, 1))
    start_time = time.perf_counter()
    assert pixels(strip, SETTINGS.model_copy(update={"size": 224})).shape == (224, 224, 3)
    assert time.perf_counter() - start_time < 0.5


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"", 400, "invalid_image"),
        (b"hello", 415, "unsupported_media_type"),
        (encoded(soft_image(80, 80), "TIFF"), 415, "unsupported_media_type"),
        (encoded(soft_image(80, 80), "JPEG")[:900], 400, "invalid_image"),
        (encoded(soft_image(80, 80))[:3000], 400, "invalid_image"),
        (encoded(soft_image(80, 80), "WEBP")[:500], 400, "invalid_image"),
        (png_header(50_001, 1_000), 413, "too_large"),
        (png_header(400_000, 400_000), 413, "too_large"),
    ],
    ids=[
        "empty",
        "text",
        "tiff",
        "cut jpeg",
        "cut png",
        "cut webp",
        "too many pixels",
        "far too many pixels",
    ],
)
def test_what_is_no_usable_image_is_refused(data: bytes, status: int, code: str) -> None:
    assert (refusal(data).status, refusal(data).code) == (status, code)


def test_garbled_files_are_refused_or_seen_but_never_break() -> None:
    rng = np.random.default_rng(3)
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF"):
        good = bytearray(encoded(soft_image(70, 66), kind))
        for _ in range(40):
            bad = bytearray(good)
            for position in rng.integers(0, len(bad), 6):
                bad[position] = rng.integers(256)
            try:
                assert pixels(bytes(bad)).shape == (64, 64, 3)
            except ApiError as err:
                assert err.status in (400, 413, 415)


def test_opening_reads_the_header_alone() -> None:
    opened = open_image(png_header(40_000, 1_000))
    assert (opened.pixels, opened.format) == (40_000_000, "PNG")
