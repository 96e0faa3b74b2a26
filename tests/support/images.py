"""Files that tests and golden data share."""

import struct
import zlib

from PIL import Image

from dev.images import encoded, png_chunk, soft_image, with_png_chunks

__all__ = [
    "SIZES",
    "as_held",
    "encoded",
    "exif_orientation",
    "png",
    "png_chunk",
    "png_header",
    "segment",
    "soft_image",
    "with_png_chunks",
]

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


def exif_orientation(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def as_held(upright: Image.Image, orientation: int) -> tuple[Image.Image, Image.Exif]:
    """The image as a camera in this position writes it, and the EXIF that turns it upright."""
    inverse = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    lying = upright if inverse is None else upright.transpose(Image.Transpose(inverse))
    return lying, exif_orientation(orientation)


def png_header(width: int, height: int) -> bytes:
    """A PNG that ends where its pixels would begin."""
    return png(width, height, 8, 2, b"")[:33] + struct.pack(">I", 1000) + b"IDAT" + bytes(10)


def png(
    width: int, height: int, depth: int, colour: int, rows: bytes, chunks: bytes = b""
) -> bytes:
    """A PNG of any header; `rows` are the filter bytes and samples before compression."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    pixels = png_chunk(b"IDAT", zlib.compress(rows, 1)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + chunks + pixels


def segment(marker: int, data: bytes) -> bytes:
    """A segment of a JPEG."""
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(data) + 2) + data
