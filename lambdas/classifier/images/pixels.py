"""Turns image files into the uint8 squares that the image encoder takes. This is the work of the
decoder's process, with Pillow alone.
"""

import warnings
from typing import Any

from PIL import AvifImagePlugin, Image

from classifier.images.colours.conversion import Conversion, find_conversion
from classifier.images.cut_off import load
from classifier.images.formats import ImageFile
from classifier.images.formats.image_file import DamagedError
from classifier.images.on_white import on_white, open_file, reduction
from classifier.images.squares import SQUARE_MODES, grid, pad

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112
# Left, top, width and height of a part of the upright image.
Fractions = tuple[float, float, float, float]
# The limits on pixels are this package's own.
Image.MAX_IMAGE_PIXELS = None
AvifImagePlugin.DEFAULT_MAX_THREADS = 1


def squares(
    image_file: ImageFile, size: int, interpolation: str, fit: str, regions: int = 0
) -> tuple[dict[str, Any], list[bytes]]:
    """uint8 [S, S, 3] of the first frame: upright, on white, in sRGB, resized and made square.

    Two or three squares for `tiles`. With `regions`, then each different square of such a grid. In
    front of them comes a description: the image's size as the file has it, all of the grid's boxes,
    and the colour space that the image was converted from. Raises DamagedError; Pillow's decoders
    raise nearly anything else for a garbled file.
    """
    image = open_file(image_file)
    if image.width * image.height > image_file.width * image_file.height:
        raise DamagedError(
            "image's header is damaged: it gives two different sizes. Send the whole file"
        )
    left, top, right, bottom = image_file.crop or (0, 0, *image.size)
    width = right - left
    height = bottom - top
    turn = _orientation(image, image_file)
    smallest = (2 * size, 2 * size)
    # Pillow decodes a JPEG smaller. Of HEIC, it would take a thumbnail, which may show anything.
    if image_file.format == "JPEG":
        image.draft(None, smallest)
    image, image_file = load(image, image_file, smallest)
    if image_file.crop:
        image = image.crop(image_file.crop)
    conversion, is_too_large = find_conversion(image.mode, image_file.profiles)
    # A square of the grid has at least 2 / (regions + 1) of the short side, and needs as many
    # pixels as the whole does.
    detail = -(-size * (regions + 1) // 2)
    finer = reload_for_regions(image, image_file, size, detail) if regions else None
    upright = _upright(image, image_file, turn, size, conversion, keep=finer is image)
    resample = Image.Resampling.BICUBIC if interpolation == "bicubic" else Image.Resampling.BILINEAR
    parts = [square.tobytes() for square in SQUARE_MODES[fit](upright, size, resample)]
    boxes = list[Fractions]()
    if regions:
        if finer:
            upright = _upright(finer, image_file, turn, detail, conversion)
        places = grid(upright.size, regions)
        parts += [
            pad(upright.crop(place), size, resample)[0].tobytes() for place in dict.fromkeys(places)
        ]
        wide, high = upright.size
        boxes = [
            (x / wide, y / high, (right - x) / wide, (bottom - y) / high)
            for x, y, right, bottom in places
        ]
    return {
        "width": width,
        "height": height,
        "boxes": boxes,
        "converted_from": conversion and conversion.name,
        "is_profile_too_large": is_too_large,
    }, parts


def _orientation(image: Image.Image, image_file: ImageFile) -> int | None:
    """Broken metadata counts as no orientation."""
    exif = Image.Exif()
    try:
        with warnings.catch_warnings(action="ignore"):
            # AVIF has no other EXIF than the orientation that Pillow makes of its own properties.
            exif.load(
                image.info.get("exif", b"") if image_file.format == "AVIF" else image_file.exif
            )
        if _ORIENTATION in exif:
            turn: int | None = exif[_ORIENTATION]
            return turn
    except Exception:  # noqa: S110
        pass
    return None


def reload_for_regions(
    image: Image.Image, image_file: ImageFile, size: int, detail: int
) -> Image.Image | None:
    """The image from which squares of `detail` are taken: decoded again, or `image` itself.

    None if the reduced image that squares of `size` are taken from serves them too.
    """
    if image_file.format == "JPEG":
        again = open_file(image_file)
        again.draft(None, (2 * detail, 2 * detail))
        if again.size != image.size:
            again.load()
            return again
    return None if reduction(image, detail) == reduction(image, size) else image


def _upright(
    image: Image.Image,
    image_file: ImageFile,
    turn: int | None,
    size: int,
    conversion: Conversion | None,
    *,
    keep: bool = False,
) -> Image.Image:
    """sRGB on white, turned as it was taken. Closes the image, unless it is to be kept."""
    shown = on_white(image, image_file, size, conversion)
    if not keep:
        image.close()
    return shown.transpose(_TURNS[turn]) if turn in _TURNS else shown
