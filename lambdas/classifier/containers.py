"""One walk over an image file: its format, its size, and the parts of it that decide its pixels.

Everything here is cheap and bounded: nothing is decoded, and a file of too many parts is refused. Metadata is left out of what
the decoder gets, so that broken or huge metadata can neither fail nor cost anything.
"""

import re
import struct
import zlib
from dataclasses import dataclass

from classifier.errors import ClientError

# JPEG and WebP hold 16 bits for a side; no camera or screen passes it.
MAX_SIDE = 65_535
# Segments, chunks, blocks or boxes of one file. A file of 6 MB by a usual program has a few thousand at most.
MAX_PARTS = 10_000
# A progressive JPEG by a usual program has 6 to 15 scans.
MAX_SCANS = 100
# Parts of an AVIF picture, such as tiles of a grid, and their properties.
MAX_ITEMS = 500
# Pillow decodes run lengths in Python: a million pixels take up to a second.
MAX_RLE_PIXELS = 1_000_000
# Bytes of inflated metadata that are searched for an orientation.
MAX_METADATA = 1 << 20
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Container:
    """`data` decodes to the picture; `exif` (from its TIFF header on) and `xmp` tell its orientation.

    `frame` is the box of the first frame on its canvas where it is smaller. `ends` tells whether a JPEG has its end marker.
    `transparent` is the 16-bit grey value or colour that means transparent, which Pillow compares with 8 bits.
    """

    format: str
    width: int
    height: int
    data: bytes
    alpha: bool = False
    exif: bytes = b""
    xmp: bytes = b""
    frame: Box | None = None
    ends: bool = True
    transparent: tuple[int, ...] | None = None


class DamagedError(Exception):
    """The file breaks the rules of its format; the message says how."""


def walk(data: bytes) -> Container:
    """Raises ClientError for a file of another format, of too many parts or too large sides, and for a damaged header."""
    name = next((name for name, (magic, _) in _READERS.items() if magic.match(data)), None)
    if not name:
        raise ClientError(415, "unsupported_media_type", _unsupported(data))
    try:
        container = _READERS[name][1](data)
    except DamagedError as err:
        raise ClientError(400, "invalid_image", f"The {name} {err}.") from err
    except (struct.error, IndexError, ValueError) as err:
        raise ClientError(400, "invalid_image", f"The {name} image's header is damaged or cut off; send the whole file.") from err
    if not container.width or not container.height:
        raise ClientError(400, "invalid_image", f"The {name} image's header is damaged: it has no pixels. Send the whole file.")
    if max(container.width, container.height) > MAX_SIDE:
        size = f"{container.width} x {container.height}"
        message = (
            f"The image has {size} pixels; a side has at most {MAX_SIDE:,}. Shrink it: the model sees a few hundred on each side."
        )
        raise ClientError(413, "too_large", message)
    return container


def _too_many(parts: str, most: int) -> DamagedError:
    return DamagedError(f"image has more than {most:,} {parts}; save it again with a usual program")


def _check_parts(count: int, parts: str) -> None:
    if count > MAX_PARTS:
        raise _too_many(parts, MAX_PARTS)


# --- PNG -----------------------------------------------------------------------------------------------------------------

_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def _png(data: bytes) -> Container:
    """Keeps the header, the palette, the transparency and the pixels; other chunks are looked at for an orientation alone."""
    at, count = 8, 0
    header = palette = transparency = b""
    pixels = (0, 0)
    metadata: dict[bytes, bytes] = {}
    while at + 8 <= len(data):
        count += 1
        _check_parts(count, "chunks")
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if count == 1:
            if name != b"IHDR" or length != 13:
                raise DamagedError("image's header is damaged; send the whole file")
            header = data[at:end]
        elif name == b"PLTE" and not palette:
            palette = data[at:end]
        elif name == b"tRNS" and not transparency and not pixels[1] and _checksum_is_right(data, at, length):
            transparency = data[at + 8 : end - 4]
        elif name == b"IDAT" and pixels[1] in (0, at):
            pixels = (pixels[0] or at, end)
        elif name in (b"eXIf", b"tEXt", b"zTXt", b"iTXt"):
            key = b"eXIf" if name == b"eXIf" else data[at + 8 : min(end - 4, at + 88)].split(b"\0")[0]
            if key in (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp"):
                metadata[key] = name + data[at + 8 : end - 4]
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
    kept += [data[pixels[0] : pixels[1]], _png_chunk(b"IEND", b"")]
    exif = metadata.get(b"eXIf", b"")[4:]
    if not exif and b"Raw profile type exif" in metadata:
        exif = _raw_profile(_png_text(metadata[b"Raw profile type exif"]))
    xmp = _png_text(metadata.get(b"XML:com.adobe.xmp", b""))
    alpha = colour in (4, 6) or bool(transparency)
    return Container("PNG", width, height, b"".join(kept), alpha, exif, xmp, transparent=exact)


def _checksum_is_right(data: bytes, at: int, length: int) -> bool:
    end = at + 8 + length
    return length <= 256 and data[end : end + 4] == struct.pack(">I", zlib.crc32(data[at + 4 : end]))


def _png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _png_transparency(data: bytes, depth: int, colour: int, colours: int) -> tuple[bytes, tuple[int, ...] | None]:
    """A tRNS chunk's content as Pillow takes it: no longer than the palette, values of few bits scaled to 8; 16 bits apart."""
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
    """The text of a tEXt, zTXt or iTXt chunk, inflated up to a limit; empty where it is broken."""
    name, text = chunk[:4], chunk[4:].partition(b"\0")[2]
    packed = name == b"zTXt"
    if name == b"iTXt":
        packed, text = text[:1] != b"\0", text[2:].partition(b"\0")[2].partition(b"\0")[2]
    elif packed:
        text = text[1:]
    try:
        return zlib.decompressobj().decompress(text, MAX_METADATA) if packed else text[:MAX_METADATA]
    except zlib.error:
        return b""


def _raw_profile(text: bytes) -> bytes:
    """ImageMagick's form of EXIF in PNG: three lines of header, then hexadecimal digits."""
    try:
        return bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii")).removeprefix(b"Exif\0\0")
    except ValueError:
        return b""


# --- JPEG ----------------------------------------------------------------------------------------------------------------

# After fill bytes; inside a scan, zero is a stuffed byte and D0 to D7 are restarts.
_MARKER = re.compile(rb"\xff+([^\x00\xff])")
_MARKER_AFTER_SCAN = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
_SOF = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
# Quantisation and Huffman tables and the like; APP0 and APP14 tell the colour space.
_KEPT = _SOF | {0xC4, 0xCC, 0xDB, 0xDD, 0xE0, 0xEE}


def _jpeg(data: bytes) -> Container:
    at, count, scans = 2, 0, 0
    kept, exif, xmp, size, ends = [b"\xff\xd8"], b"", b"", b"", False
    # By component, for each of the 64 coefficients the bits that are still to come.
    unfinished: dict[int, bytearray] = {}
    while match := (_MARKER_AFTER_SCAN if scans else _MARKER).search(data, at):
        start, marker = match.end() - 2, match[1][0]
        count += 1
        _check_parts(count, "segments")
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
                raise DamagedError("image's header is damaged: it tells its size twice. Send the whole file")
            size = body
        if marker == 0xDA:
            if not size:
                raise DamagedError("image's header is damaged or cut off; send the whole file")
            if not scans:
                first = start
            _finish(unfinished, body, size)
            scans += 1
            if scans > MAX_SCANS:
                raise _too_many("scans", MAX_SCANS)
        elif not scans and marker in _KEPT:
            kept.append(data[start:end])
        elif marker == 0xE1 and body.startswith(b"Exif\0\0") and len(exif) < MAX_METADATA:
            exif += body[6:]
        elif marker == 0xE1 and body.startswith(b"http://ns.adobe.com/xap/1.0/\0") and not xmp:
            xmp = body[29:]
        at = max(end, match.end())
    if not scans:
        raise DamagedError("image is cut off or damaged; send the whole file")
    if not ends and (len(size) < 6 or len(unfinished) < size[5] or any(map(any, unfinished.values()))):
        raise DamagedError("image is cut off; send the whole file")
    kept += [data[first : start if ends else len(data)], b"\xff\xd9"]
    height, width = struct.unpack_from(">HH", size, 1)
    return Container("JPEG", width, height, b"".join(kept), False, exif, xmp, ends=ends)


def _finish(unfinished: dict[int, bytearray], scan: bytes, frame: bytes) -> None:
    """Notes what a scan gives: all of its components, or in a progressive file some bits of some of their coefficients."""
    count = scan[0]
    first, last, bits = scan[1 + 2 * count : 4 + 2 * count]
    for component in scan[1 : 1 + 2 * count : 2]:
        left = unfinished.setdefault(component, bytearray(b"\xff" * 64))
        left[first : last + 1] = bytes([bits & 15]) * (min(last, 63) + 1 - first)


# --- GIF -----------------------------------------------------------------------------------------------------------------


def _gif(data: bytes) -> Container:
    """Keeps the first frame; the extensions in front of it are left out, but for its transparency."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    kept, control, count = data[:at], b"", 0
    while data[at] == 0x21:
        start, kind, at = at, data[at + 1], at + 2
        while data[at]:
            count += 1
            _check_parts(count, "blocks")
            at += 1 + data[at]
        at += 1
        count += 1
        _check_parts(count, "blocks")
        if kind == 0xF9 and data[start + 2] >= 4:
            control = b"\x21\xf9\x04" + data[start + 3 : start + 7] + b"\0"
    if data[at] != 0x2C:
        raise DamagedError("image has no frame; send the whole file")
    left, top, wide, high = struct.unpack_from("<HHHH", data, at + 1)
    # A frame that passes the canvas widens it.
    width, height = max(width, left + wide), max(height, top + high)
    box = (left, top, left + wide, top + high)
    frame = box if box != (0, 0, width, height) else None
    return Container("GIF", width, height, kept + control + data[at:], bool(control and control[3] & 1), frame=frame)


# --- BMP -----------------------------------------------------------------------------------------------------------------


def _bmp(data: bytes) -> Container:
    (header,) = struct.unpack_from("<I", data, 14)
    if header == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        return Container("BMP", width, height, data)
    width, height, _, bits, compression = struct.unpack_from("<IiHHI", data, 18)
    height = abs(height)
    if compression in (1, 2) and width * height > MAX_RLE_PIXELS:
        raise DamagedError(f"image is compressed and has more than {MAX_RLE_PIXELS:,} pixels; save it as PNG")
    return Container("BMP", width, height, data, compression == 3 and bits == 32)


# --- WebP ----------------------------------------------------------------------------------------------------------------


def _webp(data: bytes) -> Container:
    at, count, size, alpha = 12, 0, None, False
    exif = xmp = b""
    frame: Box | None = None
    while at + 8 <= len(data):
        count += 1
        _check_parts(count, "chunks")
        name, length = struct.unpack_from("<4sI", data, at)
        body = data[at + 8 : at + 8 + (length if name in (b"EXIF", b"XMP ") else 24)]
        if name == b"VP8X":
            size, alpha = (1 + _u24(body, 4), 1 + _u24(body, 7)), bool(body[0] & 0x10)
        elif name == b"VP8 " and size is None:
            wide, high = struct.unpack_from("<HH", body, 6)
            size = (wide & 0x3FFF, high & 0x3FFF)
        elif name == b"VP8L" and size is None:
            (bits,) = struct.unpack_from("<I", body, 1)
            size, alpha = (1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)), bool(bits >> 28 & 1)
        elif name == b"ANMF" and frame is None:
            left, top = 2 * _u24(body, 0), 2 * _u24(body, 3)
            frame = (left, top, left + 1 + _u24(body, 6), top + 1 + _u24(body, 9))
        elif name == b"EXIF" and not exif:
            exif = body.removeprefix(b"Exif\0\0")
        elif name == b"XMP " and not xmp:
            xmp = body
        at += 8 + length + (length & 1)
    if size is None:
        raise DamagedError("image's header is damaged or cut off; send the whole file")
    if frame == (0, 0, *size):
        frame = None
    return Container("WEBP", *size, data, alpha, exif, xmp, frame)


def _u24(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 3], "little")


# --- AVIF ----------------------------------------------------------------------------------------------------------------


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
            raise DamagedError("image's header is damaged: a box is shorter than its header. Send the whole file")
        boxes.append((name, start, stop))
        if len(boxes) > MAX_ITEMS:
            raise _too_many("boxes", MAX_ITEMS)
        at = stop
    return boxes


def _avif(data: bytes) -> Container:
    """The size is the largest that an item or a track has; Pillow takes the first item's."""
    meta = next(((start, end) for name, start, end in _boxes(data, 0, len(data)) if name == b"meta"), None)
    sizes, alpha = [], False
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
        raise DamagedError("image's header is damaged or cut off: it tells no size. Send the whole file")
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    if meta:
        # AVIF turns pictures by a property of its own; its EXIF is of no use, and broken EXIF would fail the file.
        kept = _EXIF_ITEM.sub(rb"\1skip", data[slice(*meta)])
        data = data[: meta[0]] + kept + data[meta[1] :]
    return Container("AVIF", width, height, data, alpha)


_EXIF_ITEM = re.compile(rb"(infe\x02.{3}.{4})Exif", re.DOTALL)


def _check_items(data: bytes, name: bytes, start: int, end: int) -> None:
    """Item tables by their length: no item takes fewer than 3 bytes in any of them, and few take more than 100."""
    if end - start > 100 * MAX_ITEMS:
        raise _too_many("items", MAX_ITEMS)
    at = start + 4 + (2 if name == b"iloc" else 0)
    if name != b"iref":
        wide = name == b"ipma" or data[start] > (1 if name == b"iloc" else 0)
        (count,) = struct.unpack_from(">I" if wide else ">H", data, at)
        if count > MAX_ITEMS:
            raise _too_many("items", MAX_ITEMS)


def _track_sizes(data: bytes) -> list[tuple[int, int]]:
    """Width and height, in 1/65,536 pixels, of the tracks of a sequence."""
    sizes = []
    for name, start, end in _boxes(data, 0, len(data)):
        for track, first, last in _boxes(data, start, end) if name == b"moov" else ():
            for header, _, stop in _boxes(data, first, last) if track == b"trak" else ():
                if header == b"tkhd":
                    sizes.append(struct.unpack_from(">II", data, stop - 8))
    return sizes


# --- Which format it is ----------------------------------------------------------------------------------------------------

# HEIC's brands: https://github.com/strukturag/libheif/wiki and ISO/IEC 23008-12.
_READERS = {
    "JPEG": (re.compile(rb"\xff\xd8\xff"), _jpeg),
    "PNG": (re.compile(rb"\x89PNG\r\n\x1a\n"), _png),
    "GIF": (re.compile(rb"GIF8[79]a"), _gif),
    "BMP": (re.compile(rb"BM"), _bmp),
    "WEBP": (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), _webp),
    "AVIF": (re.compile(rb".{4}ftyp(?:avi[fs]|(?:mif1|msf1|miaf).{4}(?:....){0,20}?avi[fs])", re.DOTALL), _avif),
}
FORMATS = tuple(_READERS)
_TO_JPEG = "convert it to JPEG or PNG"
_BASE64 = "decode it, or send it as JSON in image_data"
_OTHERS = [
    (rb".{4}ftyp(?:he[iv][cxms]|(?:mif1|msf1|miaf|mif2).{4}(?:....){0,20}?he[iv][cxms])", "HEIC, an iPhone's format",
     "convert it to JPEG; on the iPhone: Settings, Camera, Formats, Most Compatible"),
    (rb".{4}ftypcrx", "a raw file of a Canon camera", _TO_JPEG),
    (rb".{4}(?:ftyp|moov|mdat|wide)|\x1a\x45\xdf\xa3|RIFF.{4}AVI |\0\0\x01[\xb3\xba]|FLV\x01", "a video", "send one of its frames as JPEG"),
    (rb"(?:II\*\0|MM\0\*|II\+\0|MM\0\+)", "TIFF", _TO_JPEG),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "JPEG XL", _TO_JPEG),
    (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "JPEG 2000", _TO_JPEG),
    (rb"8BPS", "a Photoshop file", _TO_JPEG),
    (rb"\0\0[\x01\x02]\0", "an icon file", _TO_JPEG),
    (rb"%PDF", "a PDF", "send a page or a picture of it as JPEG or PNG"),
    (rb"\x1f\x8b", "gzip", "send the file itself, not compressed"),
    (rb"PK\x03\x04", "a ZIP archive", "send one of the files in it"),
    (rb"\s*<svg|\s*<(?:\?xml|!--|!doctype svg).*?<svg", "SVG, a drawing and not pixels", "draw it first and send a PNG"),
    (rb"\s*<(?:!doctype html|html|head|body|script)", "a web page (HTML)", "download the picture itself; the address may need a login"),
    (rb"--[^\r\n]{1,80}\r?\nContent-", "a form upload (multipart/form-data)",
     "forms are not taken: send the file's bytes as the body, or JSON with image_data in base64"),
    (rb"\s*data:[\w/+.;=-]*,", "a data: URI", _BASE64),
    (rb"\s*(?:/9j/|iVBORw0KGgo|R0lGOD|UklGR|AAAA[\w+/]{4}Z0eX|Qk[01][\w+/=\s]{40})", "text in base64", _BASE64),
    (rb"\s*[{\[]\s*[\"\]}]", "JSON", 'send it with the header "Content-Type: application/json"'),
    (rb"\s*https?://\S", "an address", "download the picture and send its bytes; nothing is fetched here"),
]  # fmt: skip
_UNSUPPORTED = [(re.compile(magic, re.DOTALL | re.IGNORECASE), name, advice) for magic, name, advice in _OTHERS]


def name_format(data: bytes) -> str | None:
    """What a file that is none of FORMATS is, by its first bytes, and what to do: one sentence."""
    start = data[:1000].removeprefix(b"\xef\xbb\xbf")
    for magic, name, advice in _UNSUPPORTED:
        if magic.match(start):
            return f"This is {name}; {advice}."
    return None


def _unsupported(data: bytes) -> str:
    named = name_format(data)
    listed = f"{', '.join(FORMATS[:-1])} and {FORMATS[-1]}"
    return f"{named} Images are taken as {listed}." if named else f"The image is none of {', '.join(FORMATS)}, or it is damaged."
