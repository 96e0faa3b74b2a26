"""How an image becomes squares: fit, tiles and regions."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from classifier.contract.request.fields import Fit
from classifier.images.decoder import Squares
from classifier.images.opened_image import open_image
from classifier.images.squares import grid
from tests.support.golden import golden_pixels
from tests.support.images import as_held, encoded, soft_image
from tests.support.pixels import (
    SETTINGS,
    distance,
    pixels,
)


def squares(data: bytes, fit: Fit) -> Squares:
    return open_image(data).decode(SETTINGS, fit).squares


@pytest.mark.parametrize("fit", ["crop", "pad", "squash", "tiles"])
def test_a_square_image_is_seen_alike_however_it_is_fitted(fit: Fit) -> None:
    (square,) = squares(encoded(soft_image(90, 90)), fit)
    np.testing.assert_array_equal(square, pixels(encoded(soft_image(90, 90))))


@pytest.mark.parametrize("size", [(100, 75), (75, 101), (248, 441), (640, 65), (64, 67), (30, 21)])
def test_padding_is_that_of_open_clip(size: tuple[int, int]) -> None:
    (square,) = squares(encoded(soft_image(*size)), "pad")
    np.testing.assert_array_equal(square, golden_pixels(*size, "longest"))


def test_squashing_takes_the_whole_image() -> None:
    (square,) = squares(encoded(soft_image(100, 75)), "squash")
    np.testing.assert_array_equal(
        square, soft_image(100, 75).resize((64, 64), Image.Resampling.BICUBIC)
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
def test_tiles_lose_nothing_of_the_image(size: tuple[int, int], count: int) -> None:
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
def test_a_grid_overlaps_covers_the_image_and_has_squares_if_squares_can(
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
    # Of a long image the rows are the same.
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
    image = soft_image(*size)
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
def test_a_large_images_regions_have_all_their_detail_and_its_whole_stays_the_same(
    kind: str, options: dict[str, int], regions: int
) -> None:
    # Fine enough that a square cut from what serves the whole, 128 pixels on the short side, would
    # be blurred.
    image = soft_image(125, 100).resize((2500, 2000), Image.Resampling.BICUBIC)
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
def test_regions_are_those_of_the_upright_image(orientation: int) -> None:
    upright = soft_image(90, 70)
    lying, exif = as_held(upright, orientation)
    turned = open_image(encoded(lying, exif=exif)).decode(SETTINGS, regions=2)
    straight = open_image(encoded(upright)).decode(SETTINGS, regions=2)
    np.testing.assert_array_equal(turned.squares, straight.squares)
    np.testing.assert_array_equal(turned.region_squares, straight.region_squares)
    assert turned.boxes == straight.boxes
