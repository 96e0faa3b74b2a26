"""Hostile and odd files, made from a seed: every format, mode, depth and orientation, cut, garbled
and lying. `KINDS` holds the bombs too.
"""

import random
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from PIL import Image

from tests.robustness import bombs, colours
from tests.support.images import encoded, png, png_chunk, soft_image

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
        image = soft_image(*size, 4, rng.randrange(99)).convert(mode)
    else:
        image = soft_image(*size, seed=rng.randrange(99)).convert(mode)
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


def frames(rng: random.Random) -> bytes:
    """A GIF whose first frame lies anywhere."""
    gif = encoded(soft_image(rng.randrange(1, 90), rng.randrange(1, 90), 1), "GIF")
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
    image = soft_image(20, 20, 4).convert(mode).resize((side, side))
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
        bombs.inflating_text,
        bombs.many_scans,
        bombs.many_parts,
        bombs.item_tables,
        bombs.run_lengths,
        bombs.extreme_sides,
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
