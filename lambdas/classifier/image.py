"""Image files to the pixels that the image encoder sees."""

import io
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from classifier.clip import ImageSettings
from classifier.errors import ClientError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF")
MOST_PIXELS = 50_000_000
# An image of more pixels is first reduced by a whole factor that leaves at least twice the encoder's size.
LARGE = 4_000_000
# torchvision resizes the whole picture and crops then; past this ratio of the sides only the crop's own region is resized,
# since a strip of 1 x 10,000 pixels would otherwise take seconds and gigabytes.
LONGEST_SIDE = 16
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip
_ORIENTATION = 0x0112
# Pillow's own limit warns from 89 million pixels on; ours stands below and refuses.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True)
class Picture:
    """An opened image file; only its header was read."""

    _image: Image.Image
    field: str | None
    format: str
    width: int
    height: int

    def pixels(self, settings: ImageSettings) -> NDArray[np.uint8]:
        """uint8 [S, S, 3], first frame: upright, on white, RGB, resized, cropped. Raises ClientError for a damaged file."""
        try:
            with warnings.catch_warnings(action="ignore"):
                turn = self._image.getexif().get(_ORIENTATION)
                self._image.draft(None, (2 * settings.size, 2 * settings.size))
                self._image.load()
        except MemoryError:
            raise
        except Exception as err:  # Pillow's decoders raise nearly everything for files that are cut off or garbled
            message = f"The {self.format} image is damaged or cut off; send the whole file."
            raise ClientError(400, "invalid_image", message, self.field) from err
        upright = _on_white(self._image, settings.size)
        if turn in _TURNS:
            upright = upright.transpose(_TURNS[turn])
        return np.asarray(_fit(upright, settings))


def open_image(data: bytes, field: str | None = None) -> Picture:
    """Reads the header. Raises ClientError for a file of another format, a damaged header, or too many pixels."""
    if not data:
        raise ClientError(400, "invalid_image", "The image is empty; send the bytes of an image file.", field)
    try:
        with warnings.catch_warnings(action="ignore"):
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as err:
        known = ", ".join(FORMATS)
        raise ClientError(415, "unsupported_media_type", f"The image is none of {known}, or is damaged.", field) from err
    except MemoryError:
        raise
    except Exception as err:  # as above
        raise ClientError(400, "invalid_image", "The image's header is damaged; send the whole file.", field) from err
    if image.width * image.height > MOST_PIXELS:
        size = f"{image.width} x {image.height}"
        message = (
            f"The image has {size} pixels; at most {MOST_PIXELS:,} are taken. Shrink it: the model sees a few hundred a side."
        )
        raise ClientError(413, "too_large", message, field)
    return Picture(image, field, str(image.format), image.width, image.height)


def _on_white(image: Image.Image, size: int) -> Image.Image:
    """RGB, transparency on white, large pictures reduced on the way."""
    if image.mode.startswith("I") or image.mode == "F":
        # 16 bits a pixel; Pillow's own conversion clips instead of scaling.
        image = Image.fromarray((np.asarray(image).astype(np.float64) / 257).clip(0, 255).round().astype(np.uint8))
    factor = min(image.size) // (2 * size) if image.width * image.height > LARGE else 1
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if factor > 1:
            # Premultiplied, so that the colour of what is transparent doesn't bleed into what isn't.
            image = image.convert("RGBa").reduce(factor).convert("RGBA")
        white = Image.new("RGB", image.size, (255, 255, 255))
        white.paste(image, mask=image)
        return white
    if factor > 1:
        image = (image.convert("RGB") if image.mode in ("1", "P") else image).reduce(factor)
    return image.convert("RGB")


def _fit(image: Image.Image, settings: ImageSettings) -> Image.Image:
    """torchvision's Resize and CenterCrop on a Pillow image: sizes and offsets as its code computes them."""
    size, (width, height) = settings.size, image.size
    how = Image.Resampling.BICUBIC if settings.interpolation == "bicubic" else Image.Resampling.BILINEAR
    if settings.resize_mode == "squash":
        return image if image.size == (size, size) else image.resize((size, size), how)
    short, long = min(width, height), max(width, height)
    scaled = int(size * long / short)
    # Python rounds halves to even, as torchvision's crop does; // would be a pixel off for a quarter of all sizes.
    offset = round((scaled - size) / 2)
    if scaled > LONGEST_SIDE * size:
        first, last = offset * long / scaled, (offset + size) * long / scaled
        box = (first, 0, last, height) if width > height else (0, first, width, last)
        return image.resize((size, size), how, box)
    if short != size:
        image = image.resize((scaled, size) if width > height else (size, scaled), how)
    left, top = (offset, 0) if width > height else (0, offset)
    return image.crop((left, top, left + size, top + size))
