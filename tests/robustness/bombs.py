"""Files that cost far more to read than to send."""

import random
import struct
import zlib

from tests.support.images import encoded, png, png_chunk, segment, soft_image, with_png_chunks


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
    plain = encoded(soft_image(16, 16, rng.choice((1, 3))), "JPEG", progressive=True)
    at = plain.index(b"\xff\xc2")
    side = rng.choice((16, 500, 2000, 7070))
    header = plain[: at + 5] + struct.pack(">HH", side, side) + plain[at + 9 :]
    first = header.index(b"\xff\xda")
    return header[:first] + header[first:-2] * rng.choice((5, 12, 15, 40, 600)) + b"\xff\xd9"


def many_parts(rng: random.Random) -> bytes:
    count = int(10 ** rng.uniform(1, 5.4))
    plain = soft_image(20, 20)
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
    avif = encoded(soft_image(20, 20), "AVIF")
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
