"""WebP files."""

import struct

from classifier.images.formats.image_file import (
    DamagedError,
    ImageFile,
    PixelBox,
    check_parts,
    cut_off,
)


def read_webp(data: bytes) -> ImageFile:
    # Pillow decodes nothing of a file that is shorter than it says.
    (length,) = struct.unpack_from("<I", data, 4)
    if length + 8 > len(data):
        raise cut_off(len(data) / (length + 8))
    at = 12
    count = 0
    size = None
    alpha = False
    exif = profile = b""
    frame: PixelBox | None = None
    while at + 8 <= len(data):
        count += 1
        check_parts(count, "chunks")
        name, length = struct.unpack_from("<4sI", data, at)
        body = data[at + 8 : at + 8 + (length if name in (b"EXIF", b"ICCP") else 24)]
        if name == b"VP8X":
            size = (1 + _u24(body, 4), 1 + _u24(body, 7))
            alpha = bool(body[0] & 0x10)
        elif name == b"VP8 " and size is None:
            wide, high = struct.unpack_from("<HH", body, 6)
            size = (wide & 0x3FFF, high & 0x3FFF)
        elif name == b"VP8L" and size is None:
            (bits,) = struct.unpack_from("<I", body, 1)
            size = (1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
            alpha = bool(bits >> 28 & 1)
        elif name == b"ANMF" and frame is None:
            left = 2 * _u24(body, 0)
            top = 2 * _u24(body, 3)
            frame = (left, top, left + 1 + _u24(body, 6), top + 1 + _u24(body, 9))
        elif name == b"EXIF" and not exif:
            exif = body.removeprefix(b"Exif\0\0")
        elif name == b"ICCP" and not profile:
            profile = body
        at += 8 + length + (length & 1)
    if size is None:
        raise DamagedError("image's header is damaged or cut off; send the whole file")
    if frame == (0, 0, *size):
        frame = None
    profiles = (profile,) if profile else ()
    return ImageFile("WEBP", *size, data, alpha, exif, frame, profiles=profiles)


def _u24(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 3], "little")
