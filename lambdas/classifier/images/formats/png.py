"""PNG files."""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from classifier.images.colours.png_chunks import COLOUR_CHUNKS, png_profiles
from classifier.images.formats.image_file import MAX_METADATA, DamagedError, ImageFile, check_parts

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_EXIF_KEYS = (b"eXIf", b"Raw profile type exif")


class _Chunk(NamedTuple):
    """From `start` to `end` in the file, or to the end of the file if that cuts it off."""

    data: bytes
    name: bytes
    start: int
    end: int

    def content(self, skip: int = 0) -> bytes:
        return self.data[self.start + 8 + skip : self.end - 4]

    def has_right_checksum(self) -> bool:
        checksum = zlib.crc32(self.data[self.start + 4 : self.end - 4])
        return self.data[self.end - 4 : self.end] == struct.pack(">I", checksum)


def _chunks(data: bytes) -> Iterator[_Chunk]:
    """Up to the end marker, or to the last chunk that has a header."""
    at = 8
    count = 0
    while at + 8 <= len(data):
        count += 1
        check_parts(count, "chunks")
        length, name = struct.unpack_from(">I4s", data, at)
        yield _Chunk(data, name, at, at + 12 + length)
        if name == b"IEND":
            return
        at += 12 + length


def read_png(data: bytes) -> ImageFile:
    """Keeps the header, the palette, the transparency and the pixels; other chunks are looked at
    for an orientation and a colour space alone.

    Of an animation whose first frame isn't the default image, browsers never show that image: the
    frame takes its place if it is as large
    (https://www.w3.org/TR/png-3/#apng-frame-based-animation).
    """
    if data[8:16] != b"\0\0\0\x0dIHDR":
        raise DamagedError("image's header is damaged; send the whole file")
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    palette = b""
    transparency = b""
    pixels = list[_Chunk]()
    animated = False
    frames = 0
    ends = False
    first_frame = list[bytes]()
    exif: dict[bytes, bytes] = {}
    colours: dict[bytes, bytes] = {}
    for chunk in _chunks(data):
        name = chunk.name
        if name == b"IEND":
            ends = True
        elif name == b"PLTE" and not palette:
            palette = data[chunk.start : chunk.end]
        elif name == b"IDAT" and (not pixels or pixels[-1].end == chunk.start):
            pixels.append(chunk)
        elif name == b"acTL":
            animated |= not pixels
        elif name == b"fcTL" and animated:
            # The first one in front of the pixels makes them the first frame.
            full_size = chunk.content(4)[:16] == data[16:24] + bytes(8)
            frames += 1 if pixels and full_size else 2
        elif name == b"fdAT" and frames == 1:
            first_frame.append(chunk.content(4))
        elif name in (b"eXIf", b"tEXt", b"zTXt"):
            key = name if name == b"eXIf" else chunk.content()[:80].partition(b"\0")[0]
            if key in _EXIF_KEYS:
                exif[key] = name + chunk.content()
        elif pixels or not chunk.has_right_checksum():
            continue
        elif name == b"tRNS" and not transparency and len(chunk.content()) <= 256:
            transparency = chunk.content()
        elif name in COLOUR_CHUNKS and name not in colours:
            colours[name] = chunk.content()
    if not pixels:
        raise DamagedError("image has no pixels; send the whole file")
    if animated and frames < 2 and not first_frame and not ends:
        raise DamagedError("image is cut off before its first frame; send the whole file")
    if colour == 3 and len(palette) < 15:
        raise DamagedError("image has no palette; send the whole file")
    cut, exact = _transparency(transparency, depth, colour, (len(palette) - 12) // 3)
    kept = [data[:33]]
    if colour == 3:
        kept.append(palette)
    if cut:
        kept.append(_chunk(b"tRNS", cut))
    if first_frame:
        kept.append(_chunk(b"IDAT", b"".join(first_frame)))
    else:
        last = pixels[-1]
        if last.end <= len(data):
            kept.append(data[pixels[0].start : last.end])
        else:
            kept.append(data[pixels[0].start : last.start])
            kept.append(_chunk(b"IDAT", last.content()))
    kept.append(_chunk(b"IEND", b""))
    orientation = exif.get(b"eXIf", b"")[4:]
    if not orientation and b"Raw profile type exif" in exif:
        orientation = _raw_profile(_text(exif[b"Raw profile type exif"]))
    return ImageFile(
        "PNG",
        width,
        height,
        b"".join(kept),
        colour in (4, 6) or bool(transparency),
        orientation,
        transparent=exact,
        profiles=png_profiles(colours),
    )


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _transparency(
    data: bytes, depth: int, colour: int, colours: int
) -> tuple[bytes, tuple[int, ...] | None]:
    """A tRNS chunk's content as Pillow takes it: no longer than the palette, values of few bits
    scaled to 8; 16 bits apart.
    """
    if colour == 3:
        return data[:colours], None
    samples = _CHANNELS.get(colour, 0)
    if colour not in (0, 2) or len(data) < 2 * samples:
        return b"", None
    # Only the lowest bits of a value count: https://www.w3.org/TR/png-3/#11tRNS
    values = tuple(value & ((1 << depth) - 1) for value in struct.unpack_from(f">{samples}H", data))
    if depth == 16:
        return b"", values
    scale = {2: 85, 4: 17}.get(depth, 1)
    return struct.pack(f">{samples}H", *(value * scale for value in values)), None


def _text(chunk: bytes) -> bytes:
    """The text of a tEXt or zTXt chunk, inflated up to a limit; empty if it is broken."""
    text = chunk[4:].partition(b"\0")[2]
    if chunk[:4] == b"tEXt":
        return text[:MAX_METADATA]
    try:
        return zlib.decompressobj().decompress(text[1:], MAX_METADATA)
    except zlib.error:
        return b""


def _raw_profile(text: bytes) -> bytes:
    """ImageMagick's form of EXIF in PNG: three lines of header, then hexadecimal digits."""
    try:
        return bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii")).removeprefix(
            b"Exif\0\0"
        )
    except ValueError:
        return b""
