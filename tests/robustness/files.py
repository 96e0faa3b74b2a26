"""Hostile and odd files, made from a seed: every format, mode, depth and orientation, cut, garbled
and lying, and bombs of every kind.
"""

import random
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from PIL import Image

from tests.robustness import colours
from tests.support.pictures import encoded, picture, png, png_chunk, segment, with_png_chunks

Maker = Callable[[random.Random], bytes]
MODES = {
    "JPEG": ("L", "RGB", "CMYK"),
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "WEBP": ("RGB", "RGBA"),
    "GIF": ("L", "P", "RGB"),
    "BMP": ("1", "L", "P", "RGB", "RGBA"),
    "AVIF": ("L", "RGB", "RGBA"),
}


def files(seed: int) -> Iterator[tuple[str, bytes]]:
    """Kind and content, without end."""
    rng = random.Random(seed)
    while True:
        kind = rng.choice(list(KINDS))
        yield kind, KINDS[kind](rng)


def honest(rng: random.Random) -> bytes:
    """A file as a program writes it, with an orientation half of the time."""
    kind = rng.choice(list(MODES))
    mode = rng.choice(MODES[kind])
    size = (rng.randrange(1, 200), rng.randrange(1, 200))
    if mode == "I;16":
        image = Image.frombytes(mode, size, rng.randbytes(2 * size[0] * size[1]))
    elif mode in ("LA", "RGBA"):
        image = picture(*size, 4, rng.randrange(99)).convert(mode)
    else:
        image = picture(*size, seed=rng.randrange(99)).convert(mode)
    options: dict[str, Any] = {}
    if kind == "JPEG":
        options = {
            "quality": rng.randrange(1, 100),
            "progressive": rng.random() < 0.5,
            "subsampling": rng.randrange(3),
        }
    elif kind in ("WEBP", "AVIF"):
        options = (
            {"quality": rng.randrange(100), "lossless": rng.random() < 0.5}
            if kind == "WEBP"
            else {"speed": 10}
        )
    if kind in ("GIF", "WEBP", "PNG") and rng.random() < 0.2:
        options |= {"save_all": True, "append_images": [image.rotate(90 * i) for i in range(1, 4)]}
    if kind not in ("GIF", "BMP") and rng.random() < 0.5:
        exif = Image.Exif()
        exif[0x0112] = rng.randrange(10)
        options["exif"] = exif
    return encoded(image, kind, **options)


def cut(rng: random.Random) -> bytes:
    data = honest(rng)
    return data[: rng.randrange(len(data) + 1)]


def flipped(rng: random.Random) -> bytes:
    data = bytearray(honest(rng))
    # Headers matter most.
    reach = rng.choice((64, 512, len(data)))
    for _ in range(rng.choice((1, 2, 5, 20, 200))):
        data[rng.randrange(min(reach, len(data)))] ^= 1 << rng.randrange(8)
    return bytes(data)


def spliced(rng: random.Random) -> bytes:
    """A piece of one file in another."""
    one = honest(rng)
    other = honest(rng)
    at = rng.randrange(len(one))
    start = rng.randrange(len(other))
    piece = other[start : start + rng.choice((4, 100, 10_000))] * rng.choice((1, 1, 50))
    return one[:at] + piece + one[at + rng.choice((0, len(piece))) :]


def lying(rng: random.Random) -> bytes:
    """Another number in place of one in the header: sizes, lengths and counts."""
    data = bytearray(honest(rng))
    number = rng.choice(
        (
            0,
            1,
            255,
            65_535,
            65_536,
            1 << 24,
            (1 << 31) - 1,
            1 << 31,
            (1 << 32) - 1,
            rng.randrange(1 << 32),
        )
    )
    length = rng.choice((2, 4))
    form = rng.choice("<>") + {2: "H", 4: "I"}[length]
    struct.pack_into(
        form, data, rng.randrange(min(len(data) - 4, 400)), number & ((1 << 8 * length) - 1)
    )
    return bytes(data)


def png_of_any_header(rng: random.Random) -> bytes:
    depth = rng.choice((1, 2, 4, 8, 16, 3))
    colour = rng.choice((0, 2, 3, 4, 6, 5))
    width = rng.randrange(1, 99)
    height = rng.randrange(1, 99)
    chunks = b""
    if rng.random() < 0.7:
        chunks += png_chunk(b"PLTE", rng.randbytes(rng.choice((0, 3, 48, 768, 800))))
    if rng.random() < 0.7:
        chunks += png_chunk(b"tRNS", rng.randbytes(rng.choice((0, 1, 2, 6, 16, 256, 400))))
    # Rows as the header has them, each with a filter that there is, or any bytes.
    row = -(-width * depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour, 1) // 8)
    rows = b"".join(bytes([rng.randrange(5)]) + rng.randbytes(row) for _ in range(height))
    file = bytearray(
        png(
            width,
            height,
            depth,
            colour,
            rows if rng.random() < 0.7 else rng.randbytes(rng.randrange(200_000)),
            chunks,
        )
    )
    if rng.random() < 0.3:  # interlaced
        file[28] = 1
        file[29:33] = struct.pack(">I", zlib.crc32(file[12:29]))
    return bytes(file)


def inflating_text(rng: random.Random) -> bytes:
    text = zlib.compress(bytes(rng.choice((1 << 10, (1 << 20) - 4, 1 << 24))), 9)
    key = rng.choice((b"k%d", b"Raw profile type exif", b"XML:com.adobe.xmp"))
    chunks = [
        (
            png_chunk(b"iTXt", (key % i if b"%" in key else key) + b"\0\1\0\0\0" + text)
            if rng.random() < 0.5
            else png_chunk(
                rng.choice((b"zTXt", b"iCCP")), (key % i if b"%" in key else key) + b"\0\0" + text
            )
        )
        for i in range(rng.randrange(1, 60))
    ]
    return with_png_chunks(png(8, 8, 8, 2, bytes(8 * 25)), b"".join(chunks))


def many_scans(rng: random.Random) -> bytes:
    plain = encoded(picture(16, 16, rng.choice((1, 3))), "JPEG", progressive=True)
    at = plain.index(b"\xff\xc2")
    side = rng.choice((16, 500, 2000, 7070))
    header = plain[: at + 5] + struct.pack(">HH", side, side) + plain[at + 9 :]
    first = header.index(b"\xff\xda")
    return header[:first] + header[first:-2] * rng.choice((5, 12, 15, 40, 600)) + b"\xff\xd9"


def many_parts(rng: random.Random) -> bytes:
    count = int(10 ** rng.uniform(1, 5.4))
    plain = picture(20, 20)
    jpeg, gif, webp, avif = (encoded(plain, kind) for kind in ("JPEG", "GIF", "WEBP", "AVIF"))
    return rng.choice(
        (
            lambda: (
                jpeg[:2]
                + segment(
                    rng.choice((0xE1, 0xE2, 0xED, 0xFE, 0xDB)), b"Exif\0\0" + rng.randbytes(3)
                )
                * count
                + jpeg[2:]
            ),
            lambda: jpeg[:2] + b"\xff" * 10 * count + jpeg[2:],
            lambda: jpeg[:-2] + b"\xff\xd0" * count + b"\xff\xd9",
            lambda: with_png_chunks(
                png(8, 8, 8, 2, bytes(200)),
                png_chunk(rng.choice((b"teXt", b"eXIf", b"IDAT", b"fdAT")), b"") * count,
            ),
            lambda: (
                gif[:13]
                + b"\x21"
                + rng.choice((b"\xfe", b"\xff", b"\xf9"))
                + b"\x01a" * count
                + b"\0"
                + gif[13:]
            ),
            lambda: (
                webp[:12]
                + rng.choice((b"ANMF", b"EXIF", b"abcd"))
                + b"\0\0\0\0" * 1
                + b"abcd\0\0\0\0" * count
                + webp[12:]
            ),
            lambda: avif[:32] + b"\0\0\0\x08free" * count + avif[32:],
        )
    )()


def item_tables(rng: random.Random) -> bytes:
    """An AVIF with huge tables of items, true or not."""
    avif = encoded(picture(20, 20), "AVIF")
    count = int(10 ** rng.uniform(1, 5))
    name = rng.choice((b"iloc", b"ipma", b"iinf", b"iref"))
    at = avif.find(name)
    if at < 0 or rng.random() < 0.5:
        box = name + bytes(4) + struct.pack(">I", count) + rng.randbytes(8) * count
        meta = avif.index(b"meta")
        size = struct.unpack_from(">I", avif, meta - 4)[0] + len(box) + 4
        body = avif[: meta - 4] + struct.pack(">I", size) + avif[meta : meta + 8]
        return body + struct.pack(">I", len(box) + 4) + box + avif[meta + 8 :]
    return avif[: at + 8] + struct.pack(">I", count) + avif[at + 12 :]


def run_lengths(rng: random.Random) -> bytes:
    side = rng.choice((50, 500, 1000, 7070))
    four = rng.random() < 0.5
    line = rng.choice(
        (
            b"\xff\x12" * (side // 255) + bytes([side % 255, 0x12]) + b"\0\0",
            b"\x01\x12" * side,
            b"\0\x02\x01\x01",
        )
    )
    palette = rng.randbytes(64 if four else 1024)
    data = (line * side)[:4_000_000]
    header = struct.pack(
        "<IiiHHIIiiII",
        40,
        side,
        rng.choice((side, -side)),
        1,
        4 if four else 8,
        2 if four else 1,
        len(data),
        0,
        0,
        0,
        0,
    )
    return (
        b"BM"
        + struct.pack("<IHHI", 54 + len(palette) + len(data), 0, 0, 54 + len(palette))
        + header
        + palette
        + data
    )


def extreme_sides(rng: random.Random) -> bytes:
    """One pixel wide, or of just about as many pixels as are permitted, from a few bytes."""
    long = rng.choice((10_000, 65_535, 65_536, 1_000_000, 50_000_000))
    width, height = rng.choice(
        ((1, long), (long, 1), (long, 50_000_000 // long or 1), (7000, 7000), (5400, 5400))
    )
    depth, colour = rng.choice(
        ((8, 0), (8, 2), (8, 3), (8, 4), (8, 6), (16, 0), (16, 2), (16, 6), (1, 0), (4, 3))
    )
    rows = zlib.compress(bytes(rng.choice((1 << 16, 1 << 22, 1 << 25))), 1)
    palette = png_chunk(b"PLTE", bytes(768)) if colour == 3 else b""
    empty = png(width, height, depth, colour, b"", palette)
    return empty[: empty.index(b"IDAT") - 4] + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")


def frames(rng: random.Random) -> bytes:
    """A GIF whose first frame lies anywhere."""
    gif = encoded(picture(rng.randrange(1, 90), rng.randrange(1, 90), 1), "GIF")
    at = gif.index(b"\x2c")
    numbers = [rng.choice((0, 1, 20, 90, 3000, 65_535)) for _ in range(6)]
    return (
        gif[:6]
        + struct.pack("<HH", *numbers[:2])
        + gif[10:at]
        + b"\x2c"
        + struct.pack("<HHHH", *numbers[2:])
        + gif[at + 9 :]
    )


def large(rng: random.Random) -> bytes:
    """An honest file of many pixels and few bytes."""
    kind = rng.choice(list(MODES))
    side = rng.choice((1250, 3000, 5000))
    mode = rng.choice([mode for mode in MODES[kind] if mode not in ("I;16", "LA", "CMYK")])
    image = picture(20, 20, 4).convert(mode).resize((side, side))
    options = {
        "WEBP": {"quality": 1, "method": 0},
        "AVIF": {"quality": 1, "speed": 10},
        "PNG": {"compress_level": 1},
    }
    data = encoded(image, kind, **options.get(kind, {}))
    return data if len(data) < 4_400_000 else data[:4_400_000]


def starts(rng: random.Random) -> bytes:
    """The first bytes of any format, then anything."""
    magic = rng.choice(
        (
            b"\xff\xd8\xff",
            b"\x89PNG\r\n\x1a\n",
            b"GIF89a",
            b"BM",
            b"RIFF\0\0\0\0WEBP",
            b"\0\0\0\x1cftypavif",
            b"\0\0\0\x18ftypheic",
            b"II*\0",
            b"\xff\x0a",
            b"<svg",
            b"<?xml",
            b"<!--" * 9,
            b"%PDF",
            b"\x1f\x8b",
            b"--b\r\nContent-",
            b"data:",
            b"/9j/",
            b"{",
            b"",
        )
    )
    return magic + rng.choice(
        (rng.randbytes(rng.randrange(3000)), bytes(rng.randrange(3000)), b"<!---->" * 400)
    )


KINDS: dict[str, Maker] = {
    maker.__name__: maker
    for maker in (
        honest,
        cut,
        flipped,
        spliced,
        lying,
        png_of_any_header,
        inflating_text,
        many_scans,
        many_parts,
        item_tables,
        run_lengths,
        extreme_sides,
        frames,
        large,
        starts,
        colours.tagged,
        colours.numbered,
    )
}
# Bombs cost up to the cell's limits each; most of a run is for files that cost little.
CHEAP = (
    "honest",
    "cut",
    "flipped",
    "spliced",
    "lying",
    "png_of_any_header",
    "frames",
    "starts",
    "numbered",
)
