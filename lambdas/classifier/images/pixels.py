"""Image files to the uint8 squares that the image encoder takes: what the decoder's process does,
with Pillow alone.
"""

import io
import re
import warnings

from PIL import AvifImagePlugin, Image, ImageChops

from classifier.images.formats import ImageFile, PixelBox
from classifier.images.squares import SQUARE_MODES, grid, pad

# An image with more pixels is first reduced by a whole factor that leaves at least twice the
# encoder's size.
REDUCE_ABOVE_PIXELS = 4_000_000
# The share of a JPEG's pixels that must be there; what is missing at its end shows as grey.
MIN_SHARE = 0.9
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
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
# 16 bits per sample to 8, rounded; Pillow's own conversion clips instead of scaling.
_TO_8_BITS = [round(value / 257) for value in range(65536)]
# Bytes without a marker: where they change the picture, its own data have ended.
_NOISE = bytes(value * value % 251 for value in range(4096))
# Left, top, width and height of a part of the upright picture.
Fractions = tuple[float, float, float, float]
# The limits on pixels are this package's own.
Image.MAX_IMAGE_PIXELS = None
AvifImagePlugin.DEFAULT_MAX_THREADS = 1


class UnusableError(Exception):
    """A file that can't be shown; the message is for the caller."""


def squares(
    image_file: ImageFile, size: int, interpolation: str, fit: str, regions: int = 0
) -> tuple[tuple[int, int], list[bytes], list[Fractions]]:
    """The image's size as the file has it, and uint8 [S, S, 3] of the first frame: upright, on
    white, RGB, resized and made square.

    Two or three squares for `tiles`. With `regions`, then each different square of such a grid, and
    all of the grid's boxes. Raises UnusableError; Pillow's decoders raise nearly anything else for
    a garbled file.
    """
    image = _open(image_file)
    full_size = image.size
    if image.width * image.height > image_file.width * image_file.height:
        raise UnusableError("image's header is damaged: it tells two sizes. Send the whole file")
    turn = _orientation(image, image_file)
    smallest = (2 * size, 2 * size)
    image.draft(None, smallest)
    image.load()
    if image_file.format == "JPEG" and not (image_file.ends and _has_its_end(image)):
        share = decoded_fraction(image_file, smallest)
        if share < MIN_SHARE:
            raise UnusableError(
                f"image is cut off: {share:.0%} of it are there. Send the whole file"
            )
    # A square of the grid has at least 2 / (regions + 1) of the short side, and needs as many
    # pixels as the whole does.
    detail = -(-size * (regions + 1) // 2)
    finer = reload_for_regions(image, image_file, size, detail) if regions else None
    upright = _upright(image, image_file, turn, size, keep=finer is image)
    resample = Image.Resampling.BICUBIC if interpolation == "bicubic" else Image.Resampling.BILINEAR
    parts = [square.tobytes() for square in SQUARE_MODES[fit](upright, size, resample)]
    boxes = []
    if regions:
        upright = _upright(finer, image_file, turn, detail) if finer else upright
        width, height = upright.size
        boxes = grid(upright.size, regions)
        parts += [
            pad(upright.crop(box), size, resample)[0].tobytes() for box in dict.fromkeys(boxes)
        ]
    return (
        full_size,
        parts,
        [
            (x / width, y / height, (right - x) / width, (bottom - y) / height)
            for x, y, right, bottom in boxes
        ],
    )


def _open(image_file: ImageFile, data: bytes = b"") -> Image.Image:
    return Image.open(io.BytesIO(data or image_file.data), formats=(image_file.format,))


def _orientation(image: Image.Image, image_file: ImageFile) -> int | None:
    """Broken metadata is no orientation."""
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
    match = _XMP_ORIENTATION.search(image_file.xmp or image.info.get("xmp") or b"")
    return int(match[1]) if match else None


def _has_its_end(image: Image.Image) -> bool:
    """Whether the last pixel is anything but the grey of missing data."""
    last = image.getpixel((image.width - 1, image.height - 1))
    return any(value not in (127, 128) for value in (last if isinstance(last, tuple) else (last,)))


def reload_for_regions(
    image: Image.Image, image_file: ImageFile, size: int, detail: int
) -> Image.Image | None:
    """What to take squares of `detail` from, where what serves one of `size` has too few pixels;
    the whole stays as it is without them.
    """
    again = _open(image_file)
    again.draft(None, (2 * detail, 2 * detail))
    if again.size != image.size:
        again.load()
        return again
    return None if _factor(image, detail) == _factor(image, size) else image


def _upright(
    image: Image.Image, image_file: ImageFile, turn: int | None, size: int, *, keep: bool = False
) -> Image.Image:
    """RGB on white, turned as it was taken. Closes the image, unless it is to be kept."""
    shown = _on_white(image, image_file, size)
    if not keep:
        image.close()
    return shown.transpose(_TURNS[turn]) if turn in _TURNS else shown


def decoded_fraction(image_file: ImageFile, smallest: tuple[int, int]) -> float:
    """The share of a JPEG's pixels that its data reach.

    Noise in front of the end marker changes the picture only behind the last data: with and without
    it, they differ from there on.
    """
    versions = []
    for noise in (b"", _NOISE):
        image = _open(image_file, image_file.data[:-2] + noise + b"\xff\xd9")
        image.draft(None, smallest)
        image.load()
        versions.append(image)
    box = ImageChops.difference(*versions).getbbox(alpha_only=False)
    if not box:
        return 1.0
    # Blocks are coded in rows of at most 16 pixels, or 2 where the picture is decoded an eighth as
    # large.
    width, height = versions[0].size
    block = max(1, 16 * width // image_file.width)
    top = box[1] // block * block
    row = (0, top, width, min(height, top + block))
    first = ImageChops.difference(*(version.crop(row) for version in versions)).getbbox(
        alpha_only=False
    )
    return (top * width + (first[0] if first else 0) * block) / (width * height)


def _factor(image: Image.Image, size: int) -> int:
    """By how much a large image is reduced, for a square of a certain size."""
    return (
        max(1, min(image.size) // (2 * size))
        if image.width * image.height > REDUCE_ABOVE_PIXELS
        else 1
    )


def _on_white(image: Image.Image, image_file: ImageFile, size: int) -> Image.Image:
    """RGB with transparency on white; a large image is reduced on the way."""
    if image_file.transparent:
        image = _with_alpha(image, image_file)
    elif image.mode.startswith("I"):
        image = image.convert("I").point(_TO_8_BITS, "L")
    if image_file.frame:
        image = _on_canvas(image, image_file.frame)
    factor = _factor(image, size)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if factor > 1:
            # Premultiplied, so that the colour of transparent pixels doesn't bleed into the others.
            image = image.convert("RGBa").reduce(factor).convert("RGBA")
        white = Image.new("RGB", image.size, (255, 255, 255))
        white.paste(image, mask=image)
        return white
    if factor > 1:
        image = (image.convert("RGB") if image.mode in ("1", "P") else image).reduce(factor)
    return image.convert("RGB")


def _with_alpha(image: Image.Image, image_file: ImageFile) -> Image.Image:
    """A 16-bit PNG in 8 bits, without the pixels of the value that means transparent."""
    assert image_file.transparent
    if image.mode != "RGB":
        whole = image.convert("I")
        opaque = whole.point(
            [255 * (value != image_file.transparent[0]) for value in range(65536)], "L"
        )
        return Image.merge("LA", (whole.point(_TO_8_BITS, "L"), opaque))
    # Pillow keeps the high bytes; the low ones come from reading the samples the other way round.
    low = _open(image_file)
    low.tile = [tile._replace(args="RGB;16L") for tile in low.tile]  # type: ignore[attr-defined]
    opaque = Image.new("L", image.size)
    for part, shift in ((image, 8), (low, 0)):
        for band, value in zip(part.split(), image_file.transparent, strict=True):
            byte = value >> shift & 255
            opaque = ImageChops.lighter(
                opaque, band.point([255 * (other != byte) for other in range(256)])
            )
    return Image.merge("RGBA", (*image.split(), opaque))


def _on_canvas(image: Image.Image, frame: PixelBox) -> Image.Image:
    """The first frame alone on a transparent canvas; outside of it Pillow's pixels mean nothing."""
    canvas = Image.new("RGBA", image.size)
    canvas.paste(image.crop(frame).convert("RGBA"), frame[:2])
    return canvas
