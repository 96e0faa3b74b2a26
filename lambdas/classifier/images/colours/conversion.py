"""Converts an image's colours to sRGB by its ICC profile.

It does so as Chromium does: relative colorimetric, without black-point compensation.
"""

import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from PIL import Image, ImageChops

if TYPE_CHECKING:
    from PIL import ImageCms

# Some printers' profiles pass 2 MB.
MAX_PROFILE = 4 << 20
# A profile that changes every colour of the grid by no more than this is as good as sRGB.
MAX_HARMLESS_CHANGE = 1
MAX_NAME = 60
_STEPS = range(0, 256, 17)
_DEVICES = (b"mntr", b"scnr", b"prtr", b"spac")
_GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L")


@dataclass(frozen=True)
class Conversion:
    """From the colour space `name`, whose channels are those of Pillow's `mode`."""

    name: str
    mode: str
    transform: Image.ImagePointHandler

    def apply(self, image: Image.Image) -> Image.Image:
        """RGB, or RGBA with the alpha as it was."""
        shown = image.convert(self.mode).point(self.transform)
        if image.mode == "RGBA":
            shown.putalpha(image.getchannel("A"))
        return shown


def find_conversion(mode: str, profiles: Sequence[bytes]) -> tuple[Conversion | None, bool]:
    """By the first profile that is whole and of the kind of the image's mode. None if there is no
    such profile or it changes no colour.

    The second value tells whether a profile was too large. A profile may be deflated.
    """
    too_large = False
    for profile in profiles:
        plain = _inflated(profile)
        if len(plain) > MAX_PROFILE:
            too_large = True
            continue
        kind = _kind(mode, plain)
        if not kind:
            continue
        try:
            return _conversion(kind, mode in _GREY_MODES, plain), too_large
        except Exception:  # noqa: S112 - Pillow raises nearly anything for a broken profile
            continue
    return None, too_large


def _inflated(profile: bytes) -> bytes:
    if profile[36:40] == b"acsp":
        return profile
    inflater = zlib.decompressobj()
    try:
        plain = inflater.decompress(profile, MAX_PROFILE + 1)
    except zlib.error:
        return b""
    return plain if inflater.eof or len(plain) > MAX_PROFILE else b""


def _kind(mode: str, profile: bytes) -> str | None:
    """The mode that the profile takes, if it is whole and the image has these channels."""
    whole = profile[36:40] == b"acsp" and int.from_bytes(profile[:4]) <= len(profile)
    if not whole or profile[12:16] not in _DEVICES:
        return None
    space = profile[16:20]
    if mode == "CMYK":
        return "CMYK" if space == b"CMYK" else None
    if space == b"GRAY":
        return "L" if mode in _GREY_MODES else None
    return "RGB" if space == b"RGB " else None


# Images of one folder have the same few profiles.
@lru_cache(4)
def _conversion(kind: str, grey: bool, profile: bytes) -> Conversion | None:
    """Raises whatever Pillow raises for a broken profile."""
    # Most images need no colour management.
    from PIL import ImageCms

    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    transform = ImageCms.buildTransform(
        source, _srgb(), kind, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.NONE
    )
    name = "".join(filter(str.isprintable, ImageCms.getProfileDescription(source))).strip()
    conversion = Conversion(name[:MAX_NAME] or f"{kind} of a profile", kind, transform)
    if kind == "CMYK":
        return conversion
    grid = _grey_grid() if grey else _grid()
    changes = ImageChops.difference(conversion.apply(grid), grid.convert("RGB"))
    return conversion if max(changes.tobytes()) > MAX_HARMLESS_CHANGE else None


@cache
def _srgb() -> "ImageCms.ImageCmsProfile":
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@cache
def _grid() -> Image.Image:
    colours = bytes(
        value
        for red in _STEPS
        for green in _STEPS
        for blue in _STEPS
        for value in (red, green, blue)
    )
    return Image.frombytes("RGB", (len(_STEPS) ** 2, len(_STEPS)), colours)


@cache
def _grey_grid() -> Image.Image:
    return Image.frombytes("L", (256, 1), bytes(range(256)))
