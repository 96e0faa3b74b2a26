"""Pictures that tests and golden data share, made from numbers."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

# Width and height; every remainder that rounds the crop's offset up, down or to even.
SIZES = [
    (64, 64),
    (65, 64),
    (64, 67),
    (97, 64),
    (100, 75),
    (75, 101),
    (440, 248),
    (248, 441),
    (333, 500),
    (129, 61),
    (30, 21),
    (63, 200),
    (640, 65),
    (1023, 70),
]


def picture(width: int, height: int, bands: int = 3, seed: int = 0) -> Image.Image:
    """Soft colours with some noise: as in a photograph, neighbouring pixels are similar but never
    equal.
    """
    rng = np.random.default_rng([seed, width, height])
    soft = Image.fromarray(rng.integers(0, 256, (5, 6, bands), dtype=np.uint8).squeeze()).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    noise = rng.integers(-20, 21, np.asarray(soft).shape)
    return Image.fromarray((np.asarray(soft).astype(int) + noise).clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that ends where its pixels would begin."""
    return png(width, height, 8, 2, b"")[:33] + struct.pack(">I", 1000) + b"IDAT" + bytes(10)


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(
    width: int, height: int, depth: int, colour: int, rows: bytes, chunks: bytes = b""
) -> bytes:
    """A PNG of any header; `rows` are the filter bytes and samples before compression."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    pixels = png_chunk(b"IDAT", zlib.compress(rows, 1)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + chunks + pixels


def with_png_chunks(file: bytes, chunks: bytes) -> bytes:
    """A PNG with more chunks behind its header."""
    return file[:33] + chunks + file[33:]


def segment(marker: int, data: bytes) -> bytes:
    """A segment of a JPEG."""
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(data) + 2) + data
