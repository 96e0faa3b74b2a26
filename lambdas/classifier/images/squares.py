"""The ways to make an image square: each takes it upright and in RGB, and gives one square or
several.
"""

from collections.abc import Callable
from itertools import pairwise

from PIL import Image

# torchvision resizes the whole image and then crops it. Past this ratio of the sides only the
# crop's region is resized, since a strip of 1 x 10,000 pixels would otherwise take seconds and
# gigabytes.
MAX_RESIZED_RATIO = 16


def crop(image: Image.Image, size: int, resample: Image.Resampling) -> list[Image.Image]:
    """torchvision's Resize and CenterCrop on a Pillow image: sizes and offsets as its code computes
    them.
    """
    width, height = image.size
    short = min(width, height)
    long = max(width, height)
    scaled = int(size * long / short)
    # Python rounds halves to even, as torchvision does; // would be a pixel off for a quarter of
    # all sizes.
    offset = round((scaled - size) / 2)
    if scaled > MAX_RESIZED_RATIO * size:
        first = offset * long / scaled
        last = (offset + size) * long / scaled
        return [image.resize((size, size), resample, _along(image, first, last))]
    if short != size:
        image = image.resize((scaled, size) if width > height else (size, scaled), resample)
    left, top = (offset, 0) if width > height else (0, offset)
    return [image.crop((left, top, left + size, top + size))]


def squash(image: Image.Image, size: int, resample: Image.Resampling) -> list[Image.Image]:
    return [image if image.size == (size, size) else image.resize((size, size), resample)]


def pad(image: Image.Image, size: int, resample: Image.Resampling) -> list[Image.Image]:
    """open_clip's resize mode `longest`: the long side to S, centred on black."""
    ratio = max(image.size) / size
    inside = [max(1, round(side / ratio)) for side in image.size]
    square = Image.new("RGB", (size, size))
    square.paste(
        image.resize((inside[0], inside[1]), resample),
        ((size - inside[0]) // 2, (size - inside[1]) // 2),
    )
    return [square]


def tiles(image: Image.Image, size: int, resample: Image.Resampling) -> list[Image.Image]:
    """Two squares at the ends of the long side, past 2:1 a third one between them; past 3:1, the
    image's thirds, padded.
    """
    short = min(image.size)
    long = max(image.size)
    if short == long:
        return squash(image, size, resample)
    if long > 3 * short:
        bounds = [round(long * third / 3) for third in range(4)]
        return [
            pad(image.crop(_along(image, *ends)), size, resample)[0] for ends in pairwise(bounds)
        ]
    starts = [0, long - short] if long <= 2 * short else [0, (long - short) / 2, long - short]
    return [
        image.resize((size, size), resample, _along(image, start, start + short))
        for start in starts
    ]


def _along(image: Image.Image, first: float, last: float) -> tuple[float, float, float, float]:
    """The box between two positions on the long side."""
    return (
        (first, 0, last, image.height)
        if image.width > image.height
        else (0, first, image.width, last)
    )


def grid(size: tuple[int, int], count: int) -> list[tuple[int, int, int, int]]:
    """count x count boxes (left, top, right, bottom) in pixels of an image (width, height), row by
    row: they overlap and cover it.

    They are squares. Neighbours along the long side share at least a quarter, along the short side
    half. A square is never larger than the short side. If such squares don't reach from end to end,
    the boxes are oblong and share a quarter again.
    """
    short, long = sorted(size)
    # Rounded up, and a pixel more so that they overlap whatever their positions are rounded to.
    reach = min(long, -(-4 * long // (3 * count + 1)) + 1)
    side = min(short, max(-(-2 * short // (count + 1)), reach))
    along = side if long <= count * (side - 1) + 1 else reach
    sides = (along, side) if size[0] == long else (side, along)
    columns, rows = (
        [i * (whole - part) // (count - 1) for i in range(count)]
        for whole, part in zip(size, sides, strict=True)
    )
    return [(left, top, left + sides[0], top + sides[1]) for top in rows for left in columns]


SQUARE_MODES: dict[str, Callable[[Image.Image, int, Image.Resampling], list[Image.Image]]] = {
    "crop": crop,
    "pad": pad,
    "squash": squash,
    "tiles": tiles,
}
