"""PNG files."""

import struct
import zlib

from classifier.images.formats.image_file import MAX_METADATA, DamagedError, ImageFile, check_parts
from classifier.images.formats.png_colours import COLOUR_CHUNKS, png_profiles

_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def read_png(data: bytes) -> ImageFile:
    """Keeps the header, the palette, the transparency and the pixels; other chunks are looked at
    for an orientation and a colour space alone.

    Of an animation whose first frame isn't the default image, browsers never show that image: the
    frame takes its place where it is as large
    (https://www.w3.org/TR/png-3/#apng-frame-based-animation).
    """
    at = 8
    count = 0
    header = palette = transparency = b""
    pixels = (0, 0)
    animated = False
    frames = 0
    first_frame = list[bytes]()
    metadata: dict[bytes, bytes] = {}
    colours: dict[bytes, bytes] = {}
    while at + 8 <= len(data):
        count += 1
        check_parts(count, "chunks")
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if count == 1:
            if name != b"IHDR" or length != 13:
                raise DamagedError("image's header is damaged; send the whole file")
            header = data[at:end]
        elif name == b"PLTE" and not palette:
            palette = data[at:end]
        elif (
            name == b"tRNS"
            and not transparency
            and not pixels[1]
            and length <= 256
            and _checksum_is_right(data, at, length)
        ):
            transparency = data[at + 8 : end - 4]
        elif name == b"IDAT" and pixels[1] in (0, at):
            pixels = (pixels[0] or at, end)
        elif name == b"acTL":
            animated |= not pixels[1]
        elif name == b"fcTL" and animated:
            # The first one in front of the pixels makes them the first frame.
            frames += 1 if pixels[1] and data[at + 12 : at + 28] == header[8:16] + bytes(8) else 2
        elif name == b"fdAT" and frames == 1:
            first_frame.append(data[at + 12 : end - 4])
        elif name in (b"eXIf", b"tEXt", b"zTXt"):
            key = (
                b"eXIf" if name == b"eXIf" else data[at + 8 : min(end - 4, at + 88)].split(b"\0")[0]
            )
            if key in (b"eXIf", b"Raw profile type exif"):
                metadata[key] = name + data[at + 8 : end - 4]
        elif (
            name in COLOUR_CHUNKS
            and name not in colours
            and not pixels[1]
            and _checksum_is_right(data, at, length)
        ):
            colours[name] = data[at + 8 : end - 4]
        elif name == b"IEND":
            break
        at = end
    width, height, depth, colour = struct.unpack_from(">IIBB", header, 8)
    if not pixels[1]:
        raise DamagedError("image has no pixels; send the whole file")
    if colour == 3 and len(palette) < 15:
        raise DamagedError("image has no palette; send the whole file")
    cut, exact = _png_transparency(transparency, depth, colour, (len(palette) - 12) // 3)
    kept = [data[:8], header]
    if colour == 3:
        kept.append(palette)
    if cut:
        kept.append(_png_chunk(b"tRNS", cut))
    shown = (
        _png_chunk(b"IDAT", b"".join(first_frame)) if first_frame else data[pixels[0] : pixels[1]]
    )
    kept += [shown, _png_chunk(b"IEND", b"")]
    exif = metadata.get(b"eXIf", b"")[4:]
    if not exif and b"Raw profile type exif" in metadata:
        exif = _raw_profile(_png_text(metadata[b"Raw profile type exif"]))
    alpha = colour in (4, 6) or bool(transparency)
    profiles = png_profiles(colours)
    return ImageFile(
        "PNG", width, height, b"".join(kept), alpha, exif, transparent=exact, profiles=profiles
    )


def _checksum_is_right(data: bytes, at: int, length: int) -> bool:
    end = at + 8 + length
    return data[end : end + 4] == struct.pack(">I", zlib.crc32(data[at + 4 : end]))


def _png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _png_transparency(
    data: bytes, depth: int, colour: int, colours: int
) -> tuple[bytes, tuple[int, ...] | None]:
    """A tRNS chunk's content as Pillow takes it: no longer than the palette, values of few bits
    scaled to 8; 16 bits apart.
    """
    if colour == 3:
        return data[:colours], None
    samples = _PNG_CHANNELS.get(colour, 0)
    if colour not in (0, 2) or len(data) < 2 * samples:
        return b"", None
    # Only the lowest bits of a value count: https://www.w3.org/TR/png-3/#11tRNS
    values = tuple(value & ((1 << depth) - 1) for value in struct.unpack_from(f">{samples}H", data))
    if depth == 16:
        return b"", values
    scale = {2: 85, 4: 17}.get(depth, 1)
    return struct.pack(f">{samples}H", *(value * scale for value in values)), None


def _png_text(chunk: bytes) -> bytes:
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
