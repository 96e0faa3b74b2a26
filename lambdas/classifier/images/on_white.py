"""Turns decoded image files into sRGB on white."""

import io

from PIL import Image, ImageChops

from classifier.images.colours.conversion import Conversion
from classifier.images.formats import ImageFile, PixelBox

# An image with more pixels is first reduced by a whole factor that leaves at least twice the
# encoder's size.
REDUCE_ABOVE_PIXELS = 4_000_000
# 16 bits per sample to 8, rounded; Pillow's own conversion clips instead of scaling.
_TO_8_BITS = [round(value / 257) for value in range(65536)]


def open_file(image_file: ImageFile, data: bytes = b"") -> Image.Image:
    if image_file.format == "HEIC":
        # Most deployments don't have it, and most images don't need it.
        import pillow_heif

        pillow_heif.options.DECODE_THREADS = 1
        heic: Image.Image = pillow_heif.HeifImageFile(io.BytesIO(image_file.data))
        return heic
    return Image.open(io.BytesIO(data or image_file.data), formats=(image_file.format,))


def reduction(image: Image.Image, size: int) -> int:
    """By how much a large image is reduced, for a square of a certain size."""
    return (
        max(1, min(image.size) // (2 * size))
        if image.width * image.height > REDUCE_ABOVE_PIXELS
        else 1
    )


def on_white(
    image: Image.Image, image_file: ImageFile, size: int, conversion: Conversion | None
) -> Image.Image:
    """sRGB with transparency on white; a large image is reduced on the way."""
    if image_file.transparent:
        image = _with_alpha(image, image_file)
    elif image.mode.startswith("I"):
        image = image.convert("I").point(_TO_8_BITS, "L")
    if image_file.frame:
        image = _on_canvas(image, image_file.frame)
    factor = reduction(image, size)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if factor > 1:
            # Premultiplied, so that the colour of transparent pixels doesn't bleed into the others.
            image = image.convert("RGBa").reduce(factor).convert("RGBA")
        if conversion:
            image = conversion.apply(image)
        white = Image.new("RGB", image.size, (255, 255, 255))
        white.paste(image, mask=image)
        return white
    if factor > 1:
        image = (image.convert("RGB") if image.mode in ("1", "P") else image).reduce(factor)
    return conversion.apply(image) if conversion else image.convert("RGB")


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
    low = open_file(image_file)
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
