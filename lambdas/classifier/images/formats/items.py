"""The boxes of ISO media files, of which AVIF and HEIC are: ISO/IEC 14496-12 and 23008-12."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from classifier.images.colours.profiles import coded_profile
from classifier.images.formats.image_file import MAX_ITEMS, DamagedError, PixelBox, too_many

# Transfer functions of video, which Chromium shows as sRGB's here, unlike in a PNG.
_VIDEO_CURVES = (1, 6, 14, 15)
# Name, start and end of the content.
Part = tuple[bytes, int, int]


def boxes(data: bytes, at: int, end: int) -> list[Part]:
    """Those between two positions."""
    found: list[Part] = []
    while at + 8 <= end:
        length, name = struct.unpack_from(">I4s", data, at)
        start = at + 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, start)
            start += 8
        stop = min(end, at + length) if length else end
        if stop < start:
            raise DamagedError(
                "image's header is damaged: a box is shorter than its header. Send the whole file"
            )
        found.append((name, start, stop))
        if len(found) > MAX_ITEMS:
            raise too_many("boxes", MAX_ITEMS)
        at = stop
    return found


def full_length(data: bytes) -> int:
    """The length of the file by its boxes. It is more than the real length if the file's end is
    missing, and 0 if its last box holds no media data.
    """
    parts = boxes(data, 0, len(data))
    begin = parts[-2][2] if len(parts) > 1 else 0
    length, name = struct.unpack_from(">I4s", data, begin)
    if length == 1:
        (length,) = struct.unpack_from(">Q", data, begin + 8)
    return begin + length if name == b"mdat" and length else 0


@dataclass(frozen=True)
class Items:
    """Facts about a file's images, from its `meta` box, which lies between `start` and `end`.

    `sizes` are those of all images, `kind` and `properties` those of the one that is shown.
    """

    start: int
    end: int
    sizes: list[tuple[int, int]]
    alpha: bool
    kind: bytes
    properties: list[Part]


def read_items(data: bytes) -> Items | None:
    """None for a file without items, such as an animation. Raises DamagedError."""
    meta = next((part for part in boxes(data, 0, len(data)) if part[0] == b"meta"), None)
    if not meta:
        return None
    primary = 0
    kinds: dict[int, bytes] = {}
    properties: list[Part] = []
    tables: list[Part] = []
    for name, start, end in boxes(data, meta[1] + 4, meta[2]):
        if name in (b"iinf", b"iloc", b"iref"):
            _check_items(data, name, start, end)
        if name == b"pitm":
            primary = int.from_bytes(data[start + 4 : start + (8 if data[start] else 6)])
        elif name == b"iinf":
            kinds = _kinds(data, start, end)
        elif name == b"iprp":
            for part in boxes(data, start, end):
                if part[0] == b"ipco":
                    properties = boxes(data, part[1], part[2])
                elif part[0] == b"ipma":
                    _check_items(data, *part)
                    tables.append(part)
    numbers = [n for _, at, _ in tables for item, n in _associations(data, at) if item == primary]
    return Items(
        meta[1],
        meta[2],
        [
            struct.unpack_from(">II", data, at + 4)
            for name, at, stop in properties
            if name == b"ispe" and stop - at >= 12
        ],
        any(name == b"auxC" and b"alpha" in data[at:stop] for name, at, stop in properties),
        kinds.get(primary, b""),
        [properties[number - 1] for number in numbers if 0 < number <= len(properties)],
    )


def _kinds(data: bytes, start: int, end: int) -> dict[int, bytes]:
    """By item."""
    entries = boxes(data, start + (8 if data[start] else 6), end)
    kinds = {}
    for name, at, stop in entries:
        wide = data[at] > 2
        if name == b"infe" and data[at] >= 2 and stop - at >= 12:
            (item,) = struct.unpack_from(">I" if wide else ">H", data, at + 4)
            kinds[item] = data[at + (10 if wide else 8) :][:4]
    return kinds


def _associations(data: bytes, start: int) -> Iterator[tuple[int, int]]:
    """Items and the numbers of their properties, counted from 1."""
    version, flags, count = struct.unpack_from(">B2xBI", data, start)
    at = start + 8
    for _ in range(count):
        item, length = struct.unpack_from(">IB" if version else ">HB", data, at)
        at += 5 if version else 3
        for _ in range(length):
            (number,) = struct.unpack_from(">H" if flags & 1 else ">B", data, at)
            at += 2 if flags & 1 else 1
            # The highest bit tells whether the property is essential.
            yield item, number & (0x7FFF if flags & 1 else 0x7F)


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
            profile = coded_profile(primaries, 13 if transfer in _VIDEO_CURVES else transfer)
            coded += [profile] if profile else []
    return (*whole, *coded)


def clean_aperture(data: bytes, properties: list[Part]) -> PixelBox | None:
    """The part that a `clap` property shows; None if there is none inside the image."""
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
