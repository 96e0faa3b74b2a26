"""JPEG files."""

import re
import struct

from classifier.images.formats.image_file import (
    MAX_METADATA,
    MAX_SCANS,
    DamagedError,
    ImageFile,
    check_parts,
    too_many,
)
from classifier.images.formats.transit import likely_damage

# After fill bytes; inside a scan, zero is a stuffed byte and D0 to D7 are restarts.
_MARKER = re.compile(rb"\xff+([^\x00\xff])")
_MARKER_AFTER_SCAN = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
_SOF = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
# Quantisation and Huffman tables and the like; APP0 and APP14 tell the colour space.
_KEPT = _SOF | {0xC4, 0xCC, 0xDB, 0xDD, 0xE0, 0xEE}


def read_jpeg(data: bytes) -> ImageFile:
    at = 2
    count = 0
    scans = 0
    last = 0
    kept = [b"\xff\xd8"]
    exif = b""
    size = b""
    ends = False
    gaps = False
    # By number, counted from 1.
    profile_parts: dict[int, bytes] = {}
    profile_count = 0
    # By component, for each of the 64 coefficients the bits that are still to come.
    unfinished: dict[int, bytearray] = {}
    while match := (_MARKER_AFTER_SCAN if scans else _MARKER).search(data, at):
        start = match.end() - 2
        gaps |= not scans and match.start() > at
        marker = match[1][0]
        count += 1
        check_parts(count, "segments")
        if marker == 0xD9:
            ends = True
            break
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at = match.end()
            continue
        if match.end() + 2 > len(data):
            break
        end = match.end() + struct.unpack_from(">H", data, match.end())[0]
        if end > len(data):
            break
        body = data[match.end() + 2 : end]
        if marker in _SOF:
            if size:
                raise DamagedError(
                    "image's header is damaged: it gives its size twice. Send the whole file"
                )
            size = body
        if marker == 0xDA:
            if not size:
                raise DamagedError("image's header is damaged or cut off; send the whole file")
            if not scans:
                first = start
            is_new = _finish(unfinished, body, size)
            last = 0 if is_new else start - first
            scans += 1
            if scans > MAX_SCANS:
                raise too_many("scans", MAX_SCANS)
        elif not scans and marker in _KEPT:
            kept.append(data[start:end])
        elif marker == 0xE1 and body.startswith(b"Exif\0\0") and len(exif) < MAX_METADATA:
            exif += body[6:]
        elif marker == 0xE2 and body.startswith(b"ICC_PROFILE\0") and len(body) >= 14:
            profile_parts.setdefault(body[12], body[14:])
            profile_count = body[13]
        at = max(end, match.end())
    if not scans:
        raise DamagedError("image is cut off or damaged; send the whole file")
    if not ends and (
        len(size) < 6 or len(unfinished) < size[5] or any(map(any, unfinished.values()))
    ):
        raise DamagedError("image is cut off; send the whole file")
    # Only damage leads to both.
    if gaps and (damage := likely_damage(data)):
        raise DamagedError(f"image is damaged: {damage}")
    detail = len(b"".join(kept)) + last if last else 0
    kept += [data[first : start if ends else len(data)], b"\xff\xd9"]
    height, width = struct.unpack_from(">HH", size, 1)
    numbers = range(1, profile_count + 1)
    is_whole = profile_parts and set(numbers) == set(profile_parts)
    profiles = (b"".join(profile_parts[n] for n in numbers),) if is_whole else ()
    return ImageFile(
        "JPEG",
        width,
        height,
        b"".join(kept),
        False,
        exif,
        ends=ends,
        detail=detail,
        profiles=profiles,
    )


def _finish(unfinished: dict[int, bytearray], scan: bytes, frame: bytes) -> bool:
    """Notes the data that a scan gives: all of its components, or in a progressive file some bits
    of some of their coefficients. Returns whether it gives the colours of blocks, and not only
    detail for blocks that an earlier scan has given.
    """
    count = scan[0]
    first, last, bits = scan[1 + 2 * count : 4 + 2 * count]
    for component in scan[1 : 1 + 2 * count : 2]:
        left = unfinished.setdefault(component, bytearray(b"\xff" * 64))
        left[first : last + 1] = bytes([bits & 15]) * (min(last, 63) + 1 - first)
    return first == 0 and bits < 16
