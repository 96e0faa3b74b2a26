"""Opened image files, and the limits on their pixels."""

from collections.abc import Sequence
from dataclasses import dataclass

from classifier.contract.bundle import ImageSettings
from classifier.contract.errors import ApiError
from classifier.contract.schema import Fit
from classifier.images.decoder import DecodeBudget, Decoder, RelativeBox, Squares, default_decoder
from classifier.images.formats import ImageFile, inspect

MAX_PIXELS = 50_000_000
# Formats whose libraries hold a picture several times: at most 20 bytes a pixel for WebP, 15 for
# AVIF with transparency, as measured. So no picture takes more than 620 MB, which is what the
# smallest function has beside the model: see docs/security.md.
MAX_HELD_PIXELS = 30_000_000
MAX_TOTAL_PIXELS = 100_000_000
_FIT_BY_RESIZE_MODE: dict[str, Fit] = {"shortest": "crop", "squash": "squash"}


@dataclass
class Picture:
    """An opened image file, of which only the header was read; decoding it corrects the size where
    the header was not exact.

    `boxes`: once decoded, those of its regions, row by row; of a long picture some are the same.
    """

    _container: ImageFile
    field: str | None
    format: str
    width: int
    height: int
    boxes: Sequence[RelativeBox] = ()
    converted_from: str | None = None
    is_profile_too_large: bool = False

    def pixels(
        self,
        settings: ImageSettings,
        fit: Fit | None = None,
        allowance: DecodeBudget | None = None,
        decoder: Decoder = default_decoder,
        regions: int = 0,
    ) -> Squares:
        """uint8 [S, S, 3] of the first frame: upright, on white, RGB, resized and made square; two
        or three squares for `tiles`.

        With `regions`, 2 to 4, then one for each different box of such a grid. Without `fit`, as
        the model was trained. Raises ApiError for a damaged file and for one that takes too much
        time or memory.
        """
        fit = fit or _FIT_BY_RESIZE_MODE[settings.resize_mode]
        try:
            decoded = decoder.decode(
                self._container, settings, fit, allowance or DecodeBudget(), regions
            )
        except ApiError as err:
            err.field = self.field
            raise
        self.width = decoded.width
        self.height = decoded.height
        self.boxes = decoded.boxes
        self.converted_from = decoded.converted_from
        self.is_profile_too_large = decoded.is_profile_too_large
        return decoded.squares


def open_image(data: bytes, field: str | None = None) -> Picture:
    """Reads the header. Raises ApiError for a file of another format, a damaged header, or too many
    pixels.
    """
    if not data:
        raise ApiError(
            400, "invalid_image", "The image is empty; send the bytes of an image file.", field
        )
    try:
        image_file = inspect(data)
    except ApiError as err:
        err.field = field
        raise
    held = image_file.format == "WEBP" or (image_file.format == "AVIF" and image_file.alpha)
    most = MAX_HELD_PIXELS if held else MAX_PIXELS
    if image_file.width * image_file.height > most:
        size = f"{image_file.width} x {image_file.height}"
        kind = f" in {image_file.format}" if held else ""
        message = (
            f"The image has {size} pixels; at most {most:,} are allowed{kind}. Shrink it: the model"
            " sees a few hundred on each side."
        )
        raise ApiError(413, "too_large", message, field)
    return Picture(image_file, field, image_file.format, image_file.width, image_file.height)


def check_pixels(pictures: Sequence[Picture]) -> None:
    """Raises ApiError for too many pixels in all."""
    pixels = sum(picture.width * picture.height for picture in pictures)
    if pixels > MAX_TOTAL_PIXELS:
        message = (
            f"The images have {pixels:,} pixels together; at most {MAX_TOTAL_PIXELS:,} are allowed."
            " Shrink them, or send fewer."
        )
        raise ApiError(413, "too_large", message, "images")
