"""Images made from numbers, for benchmarks and tests."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image


def soft_image(width: int, height: int, bands: int = 3, seed: int = 0) -> Image.Image:
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


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def with_png_chunks(file: bytes, chunks: bytes) -> bytes:
    """A PNG with more chunks behind its header."""
    return file[:33] + chunks + file[33:]
