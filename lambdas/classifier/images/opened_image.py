"""Opened image files, and the limits on their pixels."""

from collections.abc import Sequence
from dataclasses import dataclass

from classifier.contract.bundle import ImageSettings
from classifier.contract.errors import ApiError
from classifier.contract.request.fields import Fit
from classifier.images.decoder import DecodeBudget, DecodedImage, Decoder, default_decoder
from classifier.images.formats import ImageFile, inspect

MAX_PIXELS = 50_000_000
# Libraries of these formats hold an image several times: at most 20 bytes a pixel for WebP, 15 for
# AVIF with transparency, as measured. So no image takes more than 620 MB, which the smallest
# function has left after loading the model (docs/security.md).
MAX_HELD_PIXELS = 30_000_000
MAX_TOTAL_PIXELS = 100_000_000
_FIT_BY_RESIZE_MODE: dict[str, Fit] = {"shortest": "crop", "squash": "squash"}


@dataclass(frozen=True)
class OpenedImage:
    """An image file of which only the header was read. The decoded image tells the exact size."""

    file: ImageFile
    field: str | None

    @property
    def format(self) -> str:
        return self.file.format

    @property
    def pixels(self) -> int:
        return self.file.width * self.file.height

    def decode(
        self,
        settings: ImageSettings,
        fit: Fit | None = None,
        budget: DecodeBudget | None = None,
        decoder: Decoder = default_decoder,
        regions: int = 0,
    ) -> DecodedImage:
        """The first frame: upright, on white, RGB, resized and made square, and each of `regions`
        (2 to 4) rows and columns.

        Without `fit`, as the model was trained. Raises ApiError for a damaged file and for one that
        takes too much time or memory.
        """
        fit = fit or _FIT_BY_RESIZE_MODE[settings.resize_mode]
        try:
            return decoder.decode(self.file, settings, fit, budget or DecodeBudget(), regions)
        except ApiError as err:
            raise err.at(self.field) from err


def open_image(data: bytes, field: str | None = None) -> OpenedImage:
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
        raise err.at(field) from err
    held = image_file.format == "WEBP" or (
        image_file.format in ("AVIF", "HEIC") and image_file.alpha
    )
    most = MAX_HELD_PIXELS if held else MAX_PIXELS
    if image_file.width * image_file.height > most:
        size = f"{image_file.width} x {image_file.height}"
        kind = f" in {image_file.format}" if held else ""
        message = (
            f"The image has {size} pixels; at most {most:,} are allowed{kind}. Shrink it: the model"
            " sees a few hundred on each side."
        )
        raise ApiError(413, "too_large", message, field)
    return OpenedImage(image_file, field)


def check_pixels(images: Sequence[OpenedImage]) -> None:
    """Raises ApiError for too many pixels in all."""
    pixels = sum(image.pixels for image in images)
    if pixels > MAX_TOTAL_PIXELS:
        message = (
            f"The images have {pixels:,} pixels together; at most {MAX_TOTAL_PIXELS:,} are allowed."
            " Shrink them, or send fewer."
        )
        raise ApiError(413, "too_large", message, "images")
