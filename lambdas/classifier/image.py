"""Image files to the uint8 squares that the image encoder takes."""

import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from classifier.bundle import ImageSettings
from classifier.errors import ClientError
from classifier.schema import IMAGE_FORMATS, Fit

MAX_PIXELS = 50_000_000
MAX_TOTAL_PIXELS = 100_000_000
# An image with more pixels is first reduced by a whole factor that leaves at least twice the encoder's size.
REDUCE_ABOVE_PIXELS = 4_000_000
# torchvision resizes the whole image and then crops it. Past this ratio of the sides only the crop's region is resized, since a strip
# of 1 x 10,000 pixels would otherwise take seconds and gigabytes.
MAX_RESIZED_RATIO = 16
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip
_ORIENTATION = 0x0112
# Pillow warns above 89 million pixels; our own limit is lower and refuses.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True)
class Picture:
    """An opened image file, of which only the header was read."""

    _image: Image.Image
    field: str | None
    format: str
    width: int
    height: int

    def pixels(self, settings: ImageSettings, fit: Fit | None = None) -> list[NDArray[np.uint8]]:
        """uint8 [S, S, 3] of the first frame: upright, on white, RGB, resized and made square; two or three squares for `tiles`.

        Without `fit`, as the model was trained. Call it once: it closes the file. Raises ClientError for a damaged file.
        """
        try:
            with warnings.catch_warnings(action="ignore"):
                turn = self._image.getexif().get(_ORIENTATION)
                self._image.draft(None, (2 * settings.size, 2 * settings.size))
                self._image.load()
        except MemoryError:
            raise
        except Exception as err:  # Pillow's decoders raise nearly anything for a truncated or garbled file
            message = f"The {self.format} image is damaged or truncated; send the whole file."
            raise ClientError(400, "invalid_image", message, self.field) from err
        upright = _on_white(self._image, settings.size)
        # With many images in one request, decoded ones would pile up.
        self._image.close()
        if turn in _TURNS:
            upright = upright.transpose(_TURNS[turn])
        resample = Image.Resampling.BICUBIC if settings.interpolation == "bicubic" else Image.Resampling.BILINEAR
        squares = _FITS[fit or _FIT_BY_RESIZE_MODE[settings.resize_mode]](upright, settings.size, resample)
        return [np.asarray(square) for square in squares]


def open_image(data: bytes, field: str | None = None) -> Picture:
    """Reads the header. Raises ClientError for a file of another format, a damaged header, or too many pixels."""
    if not data:
        raise ClientError(400, "invalid_image", "The image is empty; send the bytes of an image file.", field)
    try:
        with warnings.catch_warnings(action="ignore"):
            image = Image.open(io.BytesIO(data), formats=IMAGE_FORMATS)
    except UnidentifiedImageError as err:
        message = f"The image is none of {', '.join(IMAGE_FORMATS)}, or it is damaged."
        raise ClientError(415, "unsupported_media_type", message, field) from err
    except MemoryError:
        raise
    except Exception as err:  # Pillow's plugins raise nearly anything here too
        raise ClientError(400, "invalid_image", "The image's header is damaged; send the whole file.", field) from err
    if image.width * image.height > MAX_PIXELS:
        size = f"{image.width} x {image.height}"
        message = f"The image has {size} pixels; at most {MAX_PIXELS:,} are allowed. Shrink it: the model sees a few hundred on each side."
        raise ClientError(413, "too_large", message, field)
    return Picture(image, field, str(image.format), image.width, image.height)


def check_pixels(pictures: Sequence[Picture]) -> None:
    """Raises ClientError for too many pixels in all."""
    pixels = sum(picture.width * picture.height for picture in pictures)
    if pixels > MAX_TOTAL_PIXELS:
        message = (
            f"The images have {pixels:,} pixels together; at most {MAX_TOTAL_PIXELS:,} are allowed. Shrink them, or send fewer."
        )
        raise ClientError(413, "too_large", message, "images")


def _on_white(image: Image.Image, size: int) -> Image.Image:
    """RGB with transparency on white; a large image is reduced on the way."""
    if image.mode.startswith("I") or image.mode == "F":
        # 16 bits per pixel: Pillow's own conversion clips instead of scaling.
        image = Image.fromarray((np.asarray(image).astype(np.float64) / 257).clip(0, 255).round().astype(np.uint8))
    factor = min(image.size) // (2 * size) if image.width * image.height > REDUCE_ABOVE_PIXELS else 1
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


def _crop(image: Image.Image, size: int, resample: Image.Resampling) -> list[Image.Image]:
    """torchvision's Resize and CenterCrop on a Pillow image: sizes and offsets as its code computes them."""
    width, height = image.size
    short, long = min(width, height), max(width, height)
    scaled = int(size * long / short)
    # Python rounds halves to even, as torchvision does; // would be a pixel off for a quarter of all sizes.
    offset = round((scaled - size) / 2)
    if scaled > MAX_RESIZED_RATIO * size:
        first, last = offset * long / scaled, (offset + size) * long / scaled
        return [image.resize((size, size), resample, _along(image, first, last))]
    if short != size:
        image = image.resize((scaled, size) if width > height else (size, scaled), resample)
    left, top = (offset, 0) if width > height else (0, offset)
    return [image.crop((left, top, left + size, top + size))]


def _squash(image: Image.Image, size: int, resample: Image.Resampling) -> list[Image.Image]:
    return [image if image.size == (size, size) else image.resize((size, size), resample)]


def _pad(image: Image.Image, size: int, resample: Image.Resampling) -> list[Image.Image]:
    """open_clip's resize mode `longest`: the long side to S, centred on black."""
    ratio = max(image.size) / size
    inside = [max(1, round(side / ratio)) for side in image.size]
    square = Image.new("RGB", (size, size))
    square.paste(image.resize((inside[0], inside[1]), resample), ((size - inside[0]) // 2, (size - inside[1]) // 2))
    return [square]


def _tiles(image: Image.Image, size: int, resample: Image.Resampling) -> list[Image.Image]:
    """Two squares at the ends of the long side, past 2:1 a third one between them; past 3:1, the image's thirds, padded."""
    short, long = min(image.size), max(image.size)
    if short == long:
        return _squash(image, size, resample)
    if long > 3 * short:
        bounds = [round(long * third / 3) for third in range(4)]
        return [_pad(image.crop(_along(image, *ends)), size, resample)[0] for ends in pairwise(bounds)]
    starts = [0, long - short] if long <= 2 * short else [0, (long - short) / 2, long - short]
    return [image.resize((size, size), resample, _along(image, start, start + short)) for start in starts]


def _along(image: Image.Image, first: float, last: float) -> tuple[float, float, float, float]:
    """The box between two positions on the long side."""
    return (first, 0, last, image.height) if image.width > image.height else (0, first, image.width, last)


_FIT_BY_RESIZE_MODE: dict[str, Fit] = {"shortest": "crop", "squash": "squash"}
_FITS: dict[Fit, Callable[[Image.Image, int, Image.Resampling], list[Image.Image]]] = {
    "crop": _crop, "pad": _pad, "squash": _squash, "tiles": _tiles,
}  # fmt: skip
