"""The parts of an image file that decide its colours, for a smaller copy of it."""

import io
import struct
from typing import Any

from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo


def colour_options(data: bytes, image: Image.Image) -> dict[str, Any]:
    """The options that save a file's colours with it: an ICC profile, or a PNG's chunks."""
    profile = image.info.get("icc_profile")
    if image.format == "BMP" and data[70:74] == b"DEBM":
        start, size = struct.unpack_from("<II", data, 126)
        profile = data[14 + start : 14 + start + size]
    options: dict[str, Any] = {"icc_profile": profile if is_profile(profile) else None}
    chunks: dict[bytes, bytes] = {}
    at = 8 if image.format == "PNG" else len(data)
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        if name == b"IDAT":
            break
        chunks.setdefault(name, data[at + 8 : at + 8 + length])
        at += 12 + length
    counts = [b"cICP"]
    # Of the four values of sRGB's chunk each stands for sRGB; any other counts for nothing.
    if not options["icc_profile"] and chunks.get(b"sRGB") not in (b"\0", b"\1", b"\2", b"\3"):
        counts += [b"gAMA", b"cHRM"]
    kept = [name for name in counts if name in chunks]
    if kept:
        options["pnginfo"] = PngInfo()
        for name in kept:
            options["pnginfo"].add(name, chunks[name])
    return options


def is_profile(profile: bytes | None) -> bool:
    """A broken one would hide a PNG's chunks."""
    try:
        ImageCms.ImageCmsProfile(io.BytesIO(profile or b""))
    except OSError:
        return False
    return True
