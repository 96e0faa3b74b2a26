"""How much of an image file that lacks its end is there."""

from PIL import Image, ImageChops

from classifier.images.formats import ImageFile
from classifier.images.on_white import open_file

# Bytes without a marker: where they change the picture, its own data have ended.
_NOISE = bytes(value * value % 251 for value in range(4096))


def has_its_end(image: Image.Image) -> bool:
    """Whether the last pixel is anything but the grey of missing data."""
    last = image.getpixel((image.width - 1, image.height - 1))
    return any(value not in (127, 128) for value in (last if isinstance(last, tuple) else (last,)))


def decoded_fraction(image_file: ImageFile, smallest: tuple[int, int]) -> float:
    """The share of a JPEG's pixels that its data reach.

    Noise in front of the end marker changes the picture only behind the last data: with and without
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
