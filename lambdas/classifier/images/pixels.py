"""Image files to the uint8 squares that the image encoder takes: what the decoder's process does, with Pillow alone."""

import io
import re
import warnings

from PIL import AvifImagePlugin, Image, ImageChops

from classifier.images.formats import Box, Container
from classifier.images.squares import FITS, grid, pad

# An image with more pixels is first reduced by a whole factor that leaves at least twice the encoder's size.
REDUCE_ABOVE_PIXELS = 4_000_000
# The share of a JPEG's pixels that must be there; what is missing at its end shows as grey.
MIN_SHARE = 0.9
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip
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
    container: Container, size: int, interpolation: str, fit: str, regions: int = 0
) -> tuple[tuple[int, int], list[bytes], list[Fractions]]:
    """The image's size as the file has it, and uint8 [S, S, 3] of the first frame: upright, on white, RGB, resized and made square.

    Two or three squares for `tiles`. With `regions`, then each different square of such a grid, and all of the grid's boxes. Raises
    UnusableError; Pillow's decoders raise nearly anything else for a garbled file.
    """
    image = _open(container)
    full_size = image.size
    if image.width * image.height > container.width * container.height:
        raise UnusableError("image's header is damaged: it tells two sizes. Send the whole file")
    turn = _orientation(image, container)
    smallest = (2 * size, 2 * size)
    image.draft(None, smallest)
    image.load()
    if container.format == "JPEG" and not (container.ends and _has_its_end(image)):
        share = _share(container, smallest)
        if share < MIN_SHARE:
            raise UnusableError(f"image is cut off: {share:.0%} of it are there. Send the whole file")
    # A square of the grid has at least 2 / (regions + 1) of the short side, and needs as many pixels as the whole does.
    detail = -(-size * (regions + 1) // 2)
    finer = _finer(image, container, size, detail) if regions else None
    upright = _upright(image, container, turn, size, keep=finer is image)
    resample = Image.Resampling.BICUBIC if interpolation == "bicubic" else Image.Resampling.BILINEAR
    parts, boxes = [square.tobytes() for square in FITS[fit](upright, size, resample)], []
    if regions:
        upright = _upright(finer, container, turn, detail) if finer else upright
        width, height = upright.size
        boxes = grid(upright.size, regions)
        parts += [pad(upright.crop(box), size, resample)[0].tobytes() for box in dict.fromkeys(boxes)]
    return (
        full_size,
        parts,
        [(x / width, y / height, (right - x) / width, (bottom - y) / height) for x, y, right, bottom in boxes],
    )


def _open(container: Container, data: bytes = b"") -> Image.Image:
    return Image.open(io.BytesIO(data or container.data), formats=(container.format,))


def _orientation(image: Image.Image, container: Container) -> int | None:
    """Broken metadata is no orientation."""
    exif = Image.Exif()
    try:
        with warnings.catch_warnings(action="ignore"):
            # AVIF has no other EXIF than the orientation that Pillow makes of its own properties.
            exif.load(image.info.get("exif", b"") if container.format == "AVIF" else container.exif)
        if _ORIENTATION in exif:
            turn: int | None = exif[_ORIENTATION]
            return turn
    except Exception:  # noqa: S110
        pass
    match = _XMP_ORIENTATION.search(container.xmp or image.info.get("xmp") or b"")
    return int(match[1]) if match else None


def _has_its_end(image: Image.Image) -> bool:
    """Whether the last pixel is anything but the grey of missing data."""
    last = image.getpixel((image.width - 1, image.height - 1))
    return any(value not in (127, 128) for value in (last if isinstance(last, tuple) else (last,)))


def _finer(image: Image.Image, container: Container, size: int, detail: int) -> Image.Image | None:
    """What to take squares of `detail` from, where what serves one of `size` has too few pixels; the whole stays as it is without them."""
    again = _open(container)
    again.draft(None, (2 * detail, 2 * detail))
    if again.size != image.size:
        again.load()
        return again
    return None if _factor(image, detail) == _factor(image, size) else image


def _upright(image: Image.Image, container: Container, turn: int | None, size: int, *, keep: bool = False) -> Image.Image:
    """RGB on white, turned as it was taken. Closes the image, unless it is to be kept."""
    shown = _on_white(image, container, size)
    if not keep:
        image.close()
    return shown.transpose(_TURNS[turn]) if turn in _TURNS else shown


def _share(container: Container, smallest: tuple[int, int]) -> float:
    """The share of a JPEG's pixels that its data reach.

    Noise in front of the end marker changes the picture only behind the last data: with and without it, they differ from there on.
    """
    versions = []
    for noise in (b"", _NOISE):
        image = _open(container, container.data[:-2] + noise + b"\xff\xd9")
        image.draft(None, smallest)
        image.load()
        versions.append(image)
    box = ImageChops.difference(*versions).getbbox(alpha_only=False)
    if not box:
        return 1.0
    # Blocks are coded in rows of at most 16 pixels, or 2 where the picture is decoded an eighth as large.
    width, height = versions[0].size
    block = max(1, 16 * width // container.width)
    top = box[1] // block * block
    row = (0, top, width, min(height, top + block))
    first = ImageChops.difference(*(version.crop(row) for version in versions)).getbbox(alpha_only=False)
    return (top * width + (first[0] if first else 0) * block) / (width * height)


def _factor(image: Image.Image, size: int) -> int:
    """By how much a large image is reduced, for a square of a certain size."""
    return max(1, min(image.size) // (2 * size)) if image.width * image.height > REDUCE_ABOVE_PIXELS else 1


def _on_white(image: Image.Image, container: Container, size: int) -> Image.Image:
    """RGB with transparency on white; a large image is reduced on the way."""
    if container.transparent:
        image = _with_alpha(image, container)
    elif image.mode.startswith("I"):
        image = image.convert("I").point(_TO_8_BITS, "L")
    if container.frame:
        image = _on_canvas(image, container.frame)
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


def _with_alpha(image: Image.Image, container: Container) -> Image.Image:
    """A 16-bit PNG in 8 bits, without the pixels of the value that means transparent."""
    assert container.transparent
    if image.mode != "RGB":
        whole = image.convert("I")
        opaque = whole.point([255 * (value != container.transparent[0]) for value in range(65536)], "L")
        return Image.merge("LA", (whole.point(_TO_8_BITS, "L"), opaque))
    # Pillow keeps the high bytes; the low ones come from reading the samples the other way round.
    low = _open(container)
    low.tile = [tile._replace(args="RGB;16L") for tile in low.tile]  # type: ignore[attr-defined]
    opaque = Image.new("L", image.size)
    for part, shift in ((image, 8), (low, 0)):
        for band, value in zip(part.split(), container.transparent, strict=True):
            byte = value >> shift & 255
            opaque = ImageChops.lighter(opaque, band.point([255 * (other != byte) for other in range(256)]))
    return Image.merge("RGBA", (*image.split(), opaque))


def _on_canvas(image: Image.Image, frame: Box) -> Image.Image:
    """The first frame alone on a transparent canvas; outside of it Pillow's pixels mean nothing."""
    canvas = Image.new("RGBA", image.size)
    canvas.paste(image.crop(frame).convert("RGBA"), frame[:2])
    return canvas
