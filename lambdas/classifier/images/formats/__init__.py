"""One walk over an image file: its format, its size, and the parts of it that decide its pixels.

Everything here is cheap and bounded: nothing is decoded, and a file of too many parts is refused.
Metadata is left out of the decoder's input, so that broken or huge metadata can neither fail nor
cost anything.
"""

import re
import struct

from classifier.contract.errors import ApiError
from classifier.images.formats.avif import read_avif
from classifier.images.formats.bmp import read_bmp
from classifier.images.formats.foreign import name_format
from classifier.images.formats.gif import read_gif
from classifier.images.formats.heic import read_heic
from classifier.images.formats.image_file import MAX_SIDE, DamagedError, ImageFile, PixelBox
from classifier.images.formats.jpeg import read_jpeg
from classifier.images.formats.png import read_png
from classifier.images.formats.transit import certain_damage, likely_damage
from classifier.images.formats.webp import read_webp

__all__ = [
    "ImageFile",
    "PixelBox",
    "allow_heic",
    "damaged",
    "format_of",
    "inspect",
    "name_format",
    "takes_heic",
]

_READERS = {
    "JPEG": (re.compile(rb"\xff\xd8\xff"), read_jpeg),
    "PNG": (re.compile(rb"\x89PNG\r\n\x1a\n"), read_png),
    "GIF": (re.compile(rb"GIF8[79]a"), read_gif),
    "BMP": (re.compile(rb"BM"), read_bmp),
    "WEBP": (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), read_webp),
    "AVIF": (
        re.compile(rb".{4}ftyp(?:avi[fs]|(?:mif1|msf1|miaf).{4}(?:....){0,20}?avi[fs])", re.DOTALL),
        read_avif,
    ),
}
_HEIC = re.compile(
    rb".{4}ftyp(?:he[iv][cxms]|(?:mif1|msf1|miaf|mif2).{4}(?:....){0,20}?he[iv][cxms])", re.DOTALL
)


def allow_heic(is_allowed: bool = True) -> None:
    """Whether this process takes HEIC, which needs pillow-heif. At first it doesn't."""
    _READERS.pop("HEIC", None)
    if is_allowed:
        _READERS["HEIC"] = (_HEIC, read_heic)


def takes_heic() -> bool:
    return "HEIC" in _READERS


def format_of(start: bytes) -> str | None:
    """The format whose first bytes these are."""
    return next((name for name, (magic, _) in _READERS.items() if magic.match(start)), None)


def inspect(data: bytes) -> ImageFile:
    """Raises ApiError for a file of another format, of too many parts or too large sides, and for a
    damaged header.
    """
    name = format_of(data)
    if not name:
        raise ApiError(415, "unsupported_media_type", _unsupported(data))
    try:
        image_file = _READERS[name][1](data)
    except DamagedError as err:
        raise damaged(name, data, str(err)) from err
    except (struct.error, IndexError, ValueError) as err:
        error = "image's header is damaged or cut off; send the whole file"
        raise damaged(name, data, error) from err
    if damage := certain_damage(name, image_file.data):
        raise ApiError(400, "invalid_image", f"The {name} image is damaged: {damage}.")
    if not image_file.width or not image_file.height:
        raise ApiError(
            400,
            "invalid_image",
            f"The {name} image's header is damaged: it has no pixels. Send the whole file.",
        )
    if max(image_file.width, image_file.height) > MAX_SIDE:
        size = f"{image_file.width} x {image_file.height}"
        message = (
            f"The image has {size} pixels; a side has at most {MAX_SIDE:,}. Shrink it: the model"
            " sees a few hundred on each side."
        )
        raise ApiError(413, "too_large", message)
    return image_file


def damaged(name: str, data: bytes, error: str) -> ApiError:
    """The error for a file that can't be read. It names the damage of a transfer as text if the
    file looks like that.
    """
    damage = likely_damage(data)
    hint = f" Perhaps {damage}." if damage and damage not in error else ""
    return ApiError(400, "invalid_image", f"The {name} {error}.{hint}")


def _unsupported(data: bytes) -> str:
    named = name_format(data)
    *formats, last = _READERS
    listed = f"{', '.join(formats)} and {last}"
    return (
        f"{named} Images are taken as {listed}."
        if named
        else f"The image is none of {', '.join(_READERS)}, or it is damaged."
    )
