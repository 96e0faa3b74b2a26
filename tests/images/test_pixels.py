import itertools
import time

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from classifier.contract.bundle import ImageSettings
from classifier.contract.errors import ApiError
from classifier.contract.request.fields import Fit
from classifier.images.decoder import Squares
from classifier.images.opened_image import open_image
from classifier.images.squares import grid
from tests.support.golden import golden_pixels
from tests.support.pictures import SIZES, encoded, picture, png_header

SETTINGS = ImageSettings(size=64, interpolation="bicubic", resize_mode="shortest", max_batch=1)


def pixels(data: bytes, settings: ImageSettings = SETTINGS) -> NDArray[np.uint8]:
    (square,) = open_image(data).decode(settings).squares
    return square


def distance(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> float:
    return float(np.abs(left.astype(int) - right.astype(int)).mean())


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_pixels_equal_those_of_open_clip(size: tuple[int, int]) -> None:
    np.testing.assert_array_equal(pixels(encoded(picture(*size))), golden_pixels(*size))


@pytest.mark.parametrize("size", [(100, 75), (30, 90)])
def test_squash_takes_the_whole_picture(size: tuple[int, int]) -> None:
    whole = picture(*size).resize((64, 64), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(
        pixels(encoded(picture(*size)), SETTINGS.model_copy(update={"resize_mode": "squash"})),
        whole,
    )


def squares(data: bytes, fit: Fit) -> Squares:
    return open_image(data).decode(SETTINGS, fit).squares


@pytest.mark.parametrize("fit", ["crop", "pad", "squash", "tiles"])
def test_a_square_picture_is_seen_alike_however_it_is_fitted(fit: Fit) -> None:
    (square,) = squares(encoded(picture(90, 90)), fit)
    np.testing.assert_array_equal(square, pixels(encoded(picture(90, 90))))


@pytest.mark.parametrize("size", [(100, 75), (75, 101), (248, 441), (640, 65), (64, 67), (30, 21)])
def test_padding_is_that_of_open_clip(size: tuple[int, int]) -> None:
    (square,) = squares(encoded(picture(*size)), "pad")
    np.testing.assert_array_equal(square, golden_pixels(*size, "longest"))


def test_squashing_takes_the_whole_picture() -> None:
    (square,) = squares(encoded(picture(100, 75)), "squash")
    np.testing.assert_array_equal(
        square, picture(100, 75).resize((64, 64), Image.Resampling.BICUBIC)
    )


@pytest.mark.parametrize(
    ("size", "count"),
    [
        ((70, 64), 2),
        ((128, 64), 2),
        ((64, 130), 3),
        ((192, 64), 3),
        ((64, 200), 3),
        ((900, 20), 3),
        ((1, 64), 3),
    ],
)
def test_tiles_lose_nothing_of_the_picture(size: tuple[int, int], count: int) -> None:
    """A mark anywhere on the long side changes at least one tile."""
    width, height = size
    plain = [
        square.astype(int)
        for square in squares(encoded(Image.new("RGB", size, (90, 90, 90))), "tiles")
    ]
    assert len(plain) == count
    long = max(size)
    mark = max(2, long // 20)
    for start in np.linspace(0, long - mark, 15).astype(int).tolist():
        marked = Image.new("RGB", size, (90, 90, 90))
        box = (
            (start, 0, start + mark, height) if width > height else (0, start, width, start + mark)
        )
        marked.paste((250, 250, 250), box)
        seen = [
            np.abs(s.astype(int) - p).max()
            for s, p in zip(squares(encoded(marked), "tiles"), plain, strict=True)
        ]
        assert max(seen) > 60


def test_tiles_are_the_ends_and_the_middle_in_order() -> None:
    wide = Image.new("RGB", (192, 64))
    for i, colour in enumerate(((255, 0, 0), (0, 255, 0), (0, 0, 255))):
        wide.paste(colour, (64 * i, 0, 64 * (i + 1), 64))
    assert [tuple(square[32, 32]) for square in squares(encoded(wide), "tiles")] == [
        (255, 0, 0),
        (0, 255, 0),
        (0, 0, 255),
    ]


@given(
    st.tuples(st.integers(1, 70_000), st.integers(1, 70_000))
    | st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.integers(2, 4),
)
@settings(max_examples=1000)
@example((1, 1), 4)
@example((65_000, 10), 2)
@example((10, 65_000), 4)
def test_a_grid_overlaps_covers_the_picture_and_has_squares_where_squares_can(
    size: tuple[int, int], count: int
) -> None:
    boxes = grid(size, count)
    short = min(size)
    long = max(size)
    sides = {(right - left, bottom - top) for left, top, right, bottom in boxes}
    assert len(boxes) == count * count
    assert len(sides) == 1
    [(width, height)] = sides
    assert width == height or long > count * (short - 1) + 1
    for axis, length in enumerate(size):
        spans = [
            (box[axis], box[axis + 2]) for box in (boxes[:count] if axis == 0 else boxes[::count])
        ]
        assert spans == sorted(spans)
        assert (spans[0][0], spans[-1][1]) == (0, length)
        assert all(later[0] < earlier[1] for earlier, later in itertools.pairwise(spans))
    assert boxes == [(x[0], y[1], x[2], y[3]) for y in boxes[::count] for x in boxes[:count]]


def test_a_grid_of_a_square_shares_half_and_one_of_a_photo_a_quarter() -> None:
    assert grid((90, 90), 2) == [(0, 0, 60, 60), (30, 0, 90, 60), (0, 30, 60, 90), (30, 30, 90, 90)]
    width = grid((400, 300), 3)[0][2]
    assert [box[0] for box in grid((400, 300), 3)[:3]] == [0, (400 - width) // 2, 400 - width]
    assert 0.25 < 1 - (400 - width) / 2 / width < 0.3
    # Of a long picture the rows are the same.
    assert len(set(grid((1600, 900), 2))) == 2


@pytest.mark.parametrize("regions", [2, 3, 4])
@pytest.mark.parametrize(
    "size",
    [(200, 200), (301, 200), (200, 310), (64, 64), (9, 7), (1, 1), (900, 40), (65_000, 10)],
    ids=str,
)
def test_a_regions_square_is_that_of_the_same_crop_saved_alone(
    size: tuple[int, int], regions: int
) -> None:
    image = picture(*size)
    decoded = open_image(encoded(image)).decode(SETTINGS, regions=regions)
    [whole] = decoded.squares
    np.testing.assert_array_equal(whole, pixels(encoded(image)))
    assert len(decoded.boxes) == regions * regions
    distinct = list(dict.fromkeys(decoded.boxes))
    for (left, top, width, height), part in zip(distinct, decoded.region_squares, strict=True):
        assert min(left, top) >= 0
        assert max(left + width, top + height) <= 1 + 1e-12
        x = left * size[0]
        y = top * size[1]
        crop = image.crop(
            (round(x), round(y), round(x + width * size[0]), round(y + height * size[1]))
        )
        np.testing.assert_array_equal(part, squares(encoded(crop), "pad")[0])


@pytest.mark.parametrize(
    ("kind", "options"), [("JPEG", {"quality": 95}), ("PNG", {"compress_level": 1})]
)
@pytest.mark.parametrize("regions", [2, 4])
def test_a_large_pictures_regions_have_all_their_detail_and_its_whole_stays_the_same(
    kind: str, options: dict[str, int], regions: int
) -> None:
    # Fine enough that a square cut from what serves the whole, 128 pixels on the short side, would
    # be blurred.
    image = picture(125, 100).resize((2500, 2000), Image.Resampling.BICUBIC)
    decoded = open_image(encoded(image, kind, **options)).decode(SETTINGS, regions=regions)
    [whole] = decoded.squares
    np.testing.assert_array_equal(whole, pixels(encoded(image, kind, **options)))
    for (left, top, width, height), part in zip(decoded.boxes, decoded.region_squares, strict=True):
        box = tuple(
            round(v)
            for v in (left * 2500, top * 2000, (left + width) * 2500, (top + height) * 2000)
        )
        alone = image.crop(box).resize((64, 64), Image.Resampling.BICUBIC)  # type: ignore[arg-type]
        assert distance(part, np.asarray(alone)) < 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_regions_are_those_of_the_upright_picture(orientation: int) -> None:
    upright = picture(90, 70)
    inverse = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    lying = upright if inverse is None else upright.transpose(Image.Transpose(inverse))
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = open_image(encoded(lying, exif=exif)).decode(SETTINGS, regions=2)
    straight = open_image(encoded(upright)).decode(SETTINGS, regions=2)
    np.testing.assert_array_equal(turned.squares, straight.squares)
    np.testing.assert_array_equal(turned.region_squares, straight.region_squares)
    assert turned.boxes == straight.boxes


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF"])
def test_every_format_gives_about_the_same_pixels(kind: str) -> None:
    source = Image.fromarray(np.asarray(picture(6, 5))).resize((96, 80), Image.Resampling.BICUBIC)
    assert distance(pixels(encoded(source, kind)), pixels(encoded(source))) < 6
    assert open_image(encoded(source, kind)).format == kind


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright(orientation: int) -> None:
    upright = picture(90, 70)
    inverse = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    lying = upright if inverse is None else upright.transpose(Image.Transpose(inverse))
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert distance(pixels(encoded(lying, exif=exif)), pixels(encoded(upright))) < 1


def test_transparent_pixels_are_white_whatever_colour_they_hide() -> None:
    hidden = Image.new("RGBA", (80, 80), (200, 0, 0, 0))
    assert pixels(encoded(hidden)).min() == 255


def test_half_transparent_pixels_mix_with_white_also_in_large_pictures() -> None:
    for side in (80, 2100):
        mixed = pixels(encoded(Image.new("RGBA", (side, side), (0, 0, 255, 128)), compress_level=1))
        assert np.abs(mixed[32, 32].astype(int) - [127, 127, 255]).max() <= 1


def test_palette_with_transparency_is_white_where_transparent() -> None:
    palette = Image.new("P", (80, 80), 1)
    palette.putpalette([9, 9, 9, 250, 0, 0])
    assert pixels(encoded(palette, transparency=1)).min() == 255
    assert tuple(pixels(encoded(palette))[0, 0]) == (250, 0, 0)


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    grey = Image.fromarray(np.full((80, 80), 257 * 100, np.uint16))
    np.testing.assert_array_equal(pixels(encoded(grey)), 100)


def test_cmyk_jpeg_is_seen_in_its_colours() -> None:
    cmyk = Image.new("RGB", (80, 80), (250, 10, 10)).convert("CMYK")
    assert (
        distance(pixels(encoded(cmyk, "JPEG")), np.full((64, 64, 3), [250, 10, 10], np.uint8)) < 8
    )


def test_one_bit_and_grey_pictures_become_rgb() -> None:
    assert pixels(encoded(Image.new("1", (80, 80), 1))).min() == 255
    np.testing.assert_array_equal(pixels(encoded(Image.new("L", (80, 80), 77))), 77)


def test_an_animation_is_seen_at_its_first_frame() -> None:
    frames = [Image.new("RGB", (80, 80), c) for c in ((255, 0, 0), (0, 0, 255))]
    assert tuple(
        pixels(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))[0, 0]
    ) == (255, 0, 0)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L"])
def test_an_animated_png_is_seen_at_its_first_frame_even_where_its_default_image_is_none(
    mode: str,
) -> None:
    hidden, first, second = (picture(90, 70, seed=i).convert(mode) for i in range(3))
    if mode == "P":
        hidden, second = (
            image.quantize(palette=first)
            for image in (picture(90, 70, seed=0), picture(90, 70, seed=2))
        )
    options = {"save_all": True, "append_images": [first, second]}
    alone = pixels(encoded(first, "PNG"))
    assert np.array_equal(pixels(encoded(hidden, "PNG", **options, default_image=True)), alone)
    assert np.array_equal(pixels(encoded(hidden, "PNG", **options)), pixels(encoded(hidden, "PNG")))


def test_a_large_jpeg_decoded_smaller_shows_the_same() -> None:
    large = picture(60, 45).resize((2400, 1800), Image.Resampling.BICUBIC)
    assert (
        distance(
            pixels(encoded(large, "JPEG", quality=95)),
            pixels(encoded(large.resize((600, 450), Image.Resampling.BOX))),
        )
        < 2
    )


def test_a_strip_costs_no_more_than_its_middle() -> None:
    strip = encoded(picture(10_000, 1))
    start_time = time.perf_counter()
    assert pixels(strip, SETTINGS.model_copy(update={"size": 224})).shape == (224, 224, 3)
    assert time.perf_counter() - start_time < 0.5


def refusal(data: bytes) -> ApiError:
    with pytest.raises(ApiError) as caught:
        pixels(data)
    return caught.value


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"", 400, "invalid_image"),
        (b"hello", 415, "unsupported_media_type"),
        (encoded(picture(80, 80), "TIFF"), 415, "unsupported_media_type"),
        (encoded(picture(80, 80), "JPEG")[:900], 400, "invalid_image"),
        (encoded(picture(80, 80))[:3000], 400, "invalid_image"),
        (encoded(picture(80, 80), "WEBP")[:500], 400, "invalid_image"),
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
        good = bytearray(encoded(picture(70, 66), kind))
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
