"""The boxes of ISO media files, of which AVIF and HEIC are: ISO/IEC 14496-12 and 23008-12."""

import struct
from collections.abc import Iterator

from classifier.images.formats.image_file import MAX_ITEMS, DamagedError, too_many

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
    """The length that a file tells by its boxes, more than there is if its end is missing; 0 if its
    last box holds no media data.
    """
    parts = boxes(data, 0, len(data))
    begin = parts[-2][2] if len(parts) > 1 else 0
    length, name = struct.unpack_from(">I4s", data, begin)
    if length == 1:
        (length,) = struct.unpack_from(">Q", data, begin + 8)
    return begin + length if name == b"mdat" and length else 0


def primary_properties(data: bytes, meta: list[Part]) -> list[Part]:
    """The properties of the image that is shown, by the content of the file's `meta` box."""
    primary = 0
    properties: list[Part] = []
    tables: list[Part] = []
    for name, start, end in meta:
        if name == b"pitm":
            primary = int.from_bytes(data[start + 4 : start + (8 if data[start] else 6)])
        elif name == b"iprp":
            for part in boxes(data, start, end):
                if part[0] == b"ipco":
                    properties = boxes(data, part[1], part[2])
                elif part[0] == b"ipma":
                    tables.append(part)
    numbers = [
        n for _, start, _ in tables for item, n in _associations(data, start) if item == primary
    ]
    return [properties[number - 1] for number in numbers if 0 < number <= len(properties)]


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
