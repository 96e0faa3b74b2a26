"""Image files whose end is missing: how much of the image is there, and how the rest is shown."""

from collections.abc import Iterator
from dataclasses import replace

import PIL.ImageFile
from PIL import Image, ImageChops

from classifier.images.formats import ImageFile
from classifier.images.formats.image_file import DamagedError
from classifier.images.on_white import open_file

# The share of an image's pixels that must be there.
MIN_SHARE = 0.9
# Bytes without a marker: if they change the image, its own data have ended.
_NOISE = bytes(value * value % 251 for value in range(4096))
# Formats of which Pillow decodes the rows that are there.
_BY_ROWS = ("BMP", "GIF", "PNG")


def load(
    image: Image.Image, image_file: ImageFile, smallest: tuple[int, int]
) -> tuple[Image.Image, ImageFile]:
    """Decodes the image. Missing rows become transparent, or in an interlaced image the rows above
    them, as browsers show them; the missing pixels of a JPEG are grey.

    `smallest`: a JPEG may have been reduced to this size. Raises DamagedError if too much is
    missing; Pillow's decoders raise nearly anything for a garbled file.
    """
    PIL.ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        image.load()
    except OSError as err:
        if image_file.format not in _BY_ROWS or "truncated" not in str(err):
            raise
        return _load_rows(image_file)
    if image_file.format == "JPEG" and not (image_file.ends and _has_its_end(image)):
        _check_share(_jpeg_share(image_file, smallest))
    return image, image_file


def _check_share(share: float) -> None:
    if share < MIN_SHARE:
        percent = int(100 * share)
        raise DamagedError(f"image is cut off: only {percent}% of it is there. Send the whole file")


def _load_rows(image_file: ImageFile) -> tuple[Image.Image, ImageFile]:
    PIL.ImageFile.LOAD_TRUNCATED_IMAGES = True
    left, top, right, bottom = image_file.frame or (0, 0, image_file.width, image_file.height)
    box = (left, top, right, bottom)
    missing = []
    share = 1.0
    rows = zip(_rows(image_file, box, 0), _rows(image_file, box, 1), strict=True)
    for y, (dark, light) in enumerate(rows, top):
        difference = int.from_bytes(dark) ^ int.from_bytes(light)
        if difference:
            missing.append(y)
            share -= difference.bit_count() / (8 * len(dark) * (bottom - top))
    _check_share(share)
    image = open_file(image_file)
    image.load()
    there = sorted({*range(top, bottom)} - {*missing})
    first, last = there[0], there[-1] + 1
    if last - first == len(there):
        return image, replace(image_file, frame=(left, first, right, last))
    for y in missing:
        image.paste(image.crop((left, y - 1, right, y)), (left, y))
    return image, image_file


def _rows(image_file: ImageFile, box: tuple[int, int, int, int], fill: int) -> Iterator[bytes]:
    """Decodes rows of the image onto zeros or ones, which stay where pixels are missing."""
    image = open_file(image_file, _opaque(image_file))
    colour = 0xFFFF if image.mode.startswith("I;16") else (255,) * len(image.getbands())
    image.im = Image.new(image.mode, image.size, colour if fill else 0).im
    image.load()
    for y in range(box[1], box[3]):
        yield image.crop((box[0], y, box[2], y + 1)).tobytes()


def _opaque(image_file: ImageFile) -> bytes:
    """The file without a GIF's transparency, onto which Pillow decodes otherwise."""
    data = image_file.data
    if image_file.format != "GIF":
        return data
    at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    return data[:at] + data[at + 8 :] if data[at] == 0x21 else data


def _has_its_end(image: Image.Image) -> bool:
    """Whether the last pixel is anything but the grey of missing data."""
    last = image.getpixel((image.width - 1, image.height - 1))
    return any(value not in (127, 128) for value in (last if isinstance(last, tuple) else (last,)))


def _jpeg_share(image_file: ImageFile, smallest: tuple[int, int]) -> float:
    """The share of a JPEG's pixels that its data reach. If the last scan only adds detail, it is
    the share of the bytes, of which the whole scan is taken to have as many for each row.
    """
    share = _decoded_fraction(image_file, smallest)
    before = image_file.detail
    there = len(image_file.data) - 2
    return there * share / (before * share + there - before) if before else share


def _decoded_fraction(image_file: ImageFile, smallest: tuple[int, int]) -> float:
    """The share of a JPEG's pixels that its data reach.

    Noise in front of the end marker changes the image only behind the last data: with and without
    it, they differ from there on.
    """
    versions = []
    for noise in (b"", _NOISE):
        image = open_file(image_file, image_file.data[:-2] + noise + b"\xff\xd9")
        image.draft(None, smallest)
        image.load()
        versions.append(image)
    box = ImageChops.difference(*versions).getbbox(alpha_only=False)
    if not box:
        return 1.0
    # Blocks are coded in rows of at most 16 pixels, or 2 if the image is decoded an eighth as
    # large.
    width, height = versions[0].size
    block = max(1, 16 * width // image_file.width)
    # Colours of half the size are smoothed into the line above.
    top = (box[1] + 1) // block * block
    row = (0, top, width, min(height, top + block))
    first = ImageChops.difference(*(version.crop(row) for version in versions)).getbbox(
        alpha_only=False
    )
    return (top * width + (first[0] if first else 0) * block) / (width * height)
