"""GIF files."""

import struct

from classifier.images.formats.image_file import DamagedError, ImageFile, check_parts


def read_gif(data: bytes) -> ImageFile:
    """Keeps the first frame, and of the extensions in front of it only its transparency."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    kept = data[:at]
    control = b""
    count = 0
    while data[at] == 0x21:
        start = at
        kind = data[at + 1]
        at = at + 2
        while data[at]:
            count += 1
            check_parts(count, "blocks")
            at += 1 + data[at]
        at += 1
        count += 1
        check_parts(count, "blocks")
        if kind == 0xF9 and data[start + 2] >= 4:
            control = b"\x21\xf9\x04" + data[start + 3 : start + 7] + b"\0"
    if data[at] != 0x2C:
        raise DamagedError("image has no frame; send the whole file")
    left, top, wide, high = struct.unpack_from("<HHHH", data, at + 1)
    # A frame that reaches beyond the canvas widens it.
    width = max(width, left + wide)
    height = max(height, top + high)
    box = (left, top, left + wide, top + high)
    frame = box if box != (0, 0, width, height) else None
    return ImageFile(
        "GIF",
        width,
        height,
        kept + control + _until_cut(data, at),
        bool(control and control[3] & 1),
        frame=frame,
    )


def _until_cut(data: bytes, frame: int) -> bytes:
    """From the first frame on. If the file ends inside of one of its blocks, the block is told to
    be as short as it is, since Pillow decodes whole ones alone.
    """
    flags = data[frame + 9]
    at = frame + 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    while not data.endswith(b";") and at < len(data) and data[at]:
        end = at + 1 + data[at]
        if end > len(data):
            return data[frame:at] + bytes([len(data) - at - 1]) + data[at + 1 :]
        at = end
    return data[frame:]
