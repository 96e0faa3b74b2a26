"""AVIF files."""

import re
import struct

from classifier.images.formats.image_file import MAX_ITEMS, DamagedError, ImageFile, too_many


def _boxes(data: bytes, at: int, end: int) -> list[tuple[bytes, int, int]]:
    """Name, start and end of the content of each box between two positions."""
    boxes = []
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
        boxes.append((name, start, stop))
        if len(boxes) > MAX_ITEMS:
            raise too_many("boxes", MAX_ITEMS)
        at = stop
    return boxes


def read_avif(data: bytes) -> ImageFile:
    """The size is the largest that an item or a track has; Pillow takes the first item's."""
    meta = next(
        ((start, end) for name, start, end in _boxes(data, 0, len(data)) if name == b"meta"), None
    )
    sizes = []
    alpha = False
    for name, start, end in _boxes(data, meta[0] + 4, meta[1]) if meta else ():
        if name in (b"iinf", b"iloc", b"iref"):
            _check_items(data, name, start, end)
        elif name == b"iprp":
            for inner, first, last in _boxes(data, start, end):
                if inner == b"ipma":
                    _check_items(data, inner, first, last)
                for kind, at, stop in _boxes(data, first, last) if inner == b"ipco" else ():
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
    if meta:
        # AVIF turns pictures by a property of its own; its EXIF is of no use, and broken EXIF would
        # fail the file.
        kept = _EXIF_ITEM.sub(rb"\1skip", data[slice(*meta)])
        data = data[: meta[0]] + kept + data[meta[1] :]
    return ImageFile("AVIF", width, height, data, alpha)


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
    for name, start, end in _boxes(data, 0, len(data)):
        for track, first, last in _boxes(data, start, end) if name == b"moov" else ():
            for header, _, stop in _boxes(data, first, last) if track == b"trak" else ():
                if header == b"tkhd":
                    sizes.append(struct.unpack_from(">II", data, stop - 8))
    return sizes
