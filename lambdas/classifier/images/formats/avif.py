"""AVIF files."""

import re
import struct
from fractions import Fraction

from classifier.images.formats.image_file import (
    MAX_ITEMS,
    DamagedError,
    ImageFile,
    PixelBox,
    too_many,
)
from classifier.images.formats.items import Part, boxes, full_length, primary_properties
from classifier.images.profiles import coded_profile


def read_avif(data: bytes) -> ImageFile:
    """The size is the largest that an item or a track has; Pillow takes the first item's."""
    meta = next(
        ((start, end) for name, start, end in boxes(data, 0, len(data)) if name == b"meta"), None
    )
    sizes = []
    alpha = False
    for name, start, end in boxes(data, meta[0] + 4, meta[1]) if meta else ():
        if name in (b"iinf", b"iloc", b"iref"):
            _check_items(data, name, start, end)
        elif name == b"iprp":
            for inner, first, last in boxes(data, start, end):
                if inner == b"ipma":
                    _check_items(data, inner, first, last)
                for kind, at, stop in boxes(data, first, last) if inner == b"ipco" else ():
                    if kind == b"ispe" and stop - at >= 12:
                        sizes.append(struct.unpack_from(">II", data, at + 4))
                    alpha = alpha or (kind == b"auxC" and b"alpha" in data[at:stop])
    if not sizes:
        sizes = [(wide >> 16, high >> 16) for wide, high in _track_sizes(data)]
    if not sizes:
        raise DamagedError(
            "image's header is damaged or cut off: it tells no size. Send the whole file"
        )
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    contents = boxes(data, meta[0] + 4, meta[1]) if meta else []
    properties = primary_properties(data, contents)
    profiles = item_profiles(data, properties)
    crop = clean_aperture(data, properties)
    if meta:
        # AVIF turns pictures by a property of its own; its EXIF is of no use, and broken EXIF would
        # fail the file.
        kept = _EXIF_ITEM.sub(rb"\1skip", data[slice(*meta)])
        data = data[: meta[0]] + kept + data[meta[1] :]
    share = len(data) / max(len(data), full_length(data))
    return ImageFile("AVIF", width, height, data, alpha, profiles=profiles, crop=crop, share=share)


def item_profiles(data: bytes, properties: list[Part]) -> tuple[bytes, ...]:
    """ICC profiles, then those of H.273's numbers."""
    whole = []
    coded = []
    for name, start, end in properties:
        kind = data[start : start + 4] if name == b"colr" else b""
        if kind in (b"prof", b"rICC"):
            whole.append(data[start + 4 : end])
        elif kind == b"nclx":
            primaries, transfer = struct.unpack_from(">HH", data, start + 4)
            # Video's curves are shown as sRGB's here, unlike in a PNG: so does Chromium.
            profile = coded_profile(primaries, 13 if transfer in _VIDEO_CURVES else transfer)
            coded += [profile] if profile else []
    return (*whole, *coded)


def clean_aperture(data: bytes, properties: list[Part]) -> PixelBox | None:
    """The part that a `clap` property shows; None if there is none inside the picture."""
    parts = {name: (start, end) for name, start, end in properties}
    if b"clap" not in parts or b"ispe" not in parts:
        return None
    width, height = struct.unpack_from(">II", data, parts[b"ispe"][0] + 4)
    numbers = struct.unpack_from(">2I2I2i2i", data, parts[b"clap"][0])
    if 0 in numbers[1::2]:
        return None
    wide, high, across, down = (
        Fraction(n, d) for n, d in zip(numbers[::2], numbers[1::2], strict=True)
    )
    left = (width - wide) / 2 + across
    top = (height - high) / 2 + down
    box = (left, top, left + wide, top + high)
    inside = 0 <= left < left + wide <= width and 0 <= top < top + high <= height
    if not inside or any(side.denominator > 1 for side in box):
        return None
    return (int(box[0]), int(box[1]), int(box[2]), int(box[3]))


_VIDEO_CURVES = (1, 6, 14, 15)
_EXIF_ITEM = re.compile(rb"(infe\x02.{3}.{4})Exif", re.DOTALL)


def _check_items(data: bytes, name: bytes, start: int, end: int) -> None:
    """Item tables by their length: no item takes fewer than 3 bytes in any of them, and few take
    more than 100.
    """
    if end - start > 100 * MAX_ITEMS:
        raise too_many("items", MAX_ITEMS)
    at = start + 4 + (2 if name == b"iloc" else 0)
    if name != b"iref":
        wide = name == b"ipma" or data[start] > (1 if name == b"iloc" else 0)
        (count,) = struct.unpack_from(">I" if wide else ">H", data, at)
        if count > MAX_ITEMS:
            raise too_many("items", MAX_ITEMS)


def _track_sizes(data: bytes) -> list[tuple[int, int]]:
    """Width and height, in 1/65,536 pixels, of the tracks of a sequence."""
    sizes = []
    for name, start, end in boxes(data, 0, len(data)):
        for track, first, last in boxes(data, start, end) if name == b"moov" else ():
            for header, _, stop in boxes(data, first, last) if track == b"trak" else ():
                if header == b"tkhd":
                    sizes.append(struct.unpack_from(">II", data, stop - 8))
    return sizes
