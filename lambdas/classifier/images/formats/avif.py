"""AVIF files."""

import re
import struct

from classifier.images.formats.image_file import DamagedError, ImageFile
from classifier.images.formats.items import (
    boxes,
    clean_aperture,
    full_length,
    item_profiles,
    read_items,
)

_EXIF_ITEM = re.compile(rb"(infe\x02.{3}.{4})Exif", re.DOTALL)


def read_avif(data: bytes) -> ImageFile:
    """The size is the largest that an item or a track has; Pillow takes the first item's."""
    items = read_items(data)
    sizes = items.sizes if items else []
    if not sizes:
        sizes = [(wide >> 16, high >> 16) for wide, high in _track_sizes(data)]
    if not sizes:
        raise DamagedError(
            "image's header is damaged or cut off: it gives no size. Send the whole file"
        )
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    share = len(data) / max(len(data), full_length(data))
    if not items:
        return ImageFile("AVIF", width, height, data, share=share)
    # AVIF turns images by a property of its own; its EXIF is of no use, and broken EXIF would fail
    # the file.
    kept = _EXIF_ITEM.sub(rb"\1skip", data[items.start : items.end])
    return ImageFile(
        "AVIF",
        width,
        height,
        data[: items.start] + kept + data[items.end :],
        items.alpha,
        profiles=item_profiles(data, items.properties),
        crop=clean_aperture(data, items.properties),
        share=share,
    )


def _track_sizes(data: bytes) -> list[tuple[int, int]]:
    """Width and height, in 1/65,536 pixels, of the tracks of a sequence."""
    sizes = []
    for name, start, end in boxes(data, 0, len(data)):
        for track, first, last in boxes(data, start, end) if name == b"moov" else ():
            for header, _, stop in boxes(data, first, last) if track == b"trak" else ():
                if header == b"tkhd":
                    sizes.append(struct.unpack_from(">II", data, stop - 8))
    return sizes
