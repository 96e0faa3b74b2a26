"""Hostile colour spaces, made from a seed: garbled and huge profiles, and odd numbers."""

import random
import struct
import zlib
from functools import cache

from dev import icc
from tests.support.images import encoded, png_chunk, soft_image, with_png_chunks

FORMATS = {"JPEG": ("L", "RGB", "CMYK"), "PNG": ("L", "LA", "P", "RGB"), "WEBP": ("RGB", "RGBA"),
           "AVIF": ("L", "RGB")}  # fmt: skip


def tagged(rng: random.Random) -> bytes:
    """A file of any format with a profile of any kind, as it is or garbled."""
    kind = rng.choice(list(FORMATS))
    image = soft_image(40, 30, 4).convert(rng.choice(FORMATS[kind]))
    tag = rng.choice((_garbled, _huge))(rng)
    if kind == "JPEG":
        # More doesn't fit into its segments.
        tag = tag[: 255 * 65_000]
    return encoded(image, kind, icc_profile=tag)


def numbered(rng: random.Random) -> bytes:
    """A PNG or AVIF whose chunks or properties tell any numbers."""
    image = soft_image(40, 30, rng.choice((1, 3)))
    if rng.random() < 0.3:
        box = tuple(rng.randrange(-50, 99) for _ in range(4))
        data = icc.cropped_avif(image, box)  # type: ignore[arg-type]
        at = data.index(b"clap") + 4 * rng.randrange(1, 9)
        return data[:at] + rng.randbytes(4) + data[at + 4 :] if rng.random() < 0.5 else data
    if rng.random() < 0.3:
        return icc.avif_with(image.convert("RGB"), rng.randrange(25), rng.randrange(25))
    numbers = (0, 1, 2, 45_455, 100_000, (1 << 31) - 1, (1 << 32) - 1, rng.randrange(1 << 32))
    chunks = [
        png_chunk(b"cICP", bytes([rng.randrange(25), rng.randrange(25), rng.randrange(2), 1])),
        png_chunk(b"gAMA", struct.pack(">I", rng.choice(numbers))),
        png_chunk(b"cHRM", struct.pack(">8I", *(rng.choice(numbers) for _ in range(8)))),
        png_chunk(b"cHRM", rng.randbytes(rng.randrange(40))),
        png_chunk(b"sRGB", rng.randbytes(rng.randrange(3))),
        png_chunk(b"iCCP", b"name\0\0" + zlib.compress(_garbled(rng))),
        png_chunk(b"iCCP", rng.randbytes(rng.randrange(100))),
    ]
    some = rng.sample(chunks, rng.randrange(1, 5))
    return with_png_chunks(encoded(image, "PNG"), b"".join(some))


def _garbled(rng: random.Random) -> bytes:
    tag = bytearray(rng.choice(_honest()))
    # The header and the index of tags matter most.
    reach = rng.choice((128, 132 + 12 * 12, len(tag)))
    for _ in range(rng.choice((0, 1, 3, 30, 300))):
        tag[rng.randrange(min(reach, len(tag)))] = rng.choice((0, 1, 255, rng.randrange(256)))
    return bytes(tag[: rng.choice((len(tag), rng.randrange(len(tag))))])


def _huge(rng: random.Random) -> bytes:
    """Of many megabytes, or with a table that takes as many, true or not."""
    points = rng.choice((2, 16, 33, 64, 255))
    inputs = rng.choice((1, 3, 4, 8, 15))
    ends = struct.pack(">2H", 0, 65_535)
    table = rng.randbytes(6 * min(points**inputs, 500_000))
    head = b"mft2" + bytes(4) + bytes([inputs, 3, points, 0]) + bytes(36)
    lut = head + struct.pack(">HH", 2, 2) + inputs * ends + table + 3 * ends
    space = rng.choice((b"CMYK", b"RGB ", b"GRAY"))
    tag = icc.profile(space, {b"A2B0": lut}, rng.choice((b"prtr", b"mntr")), b"Lab ")
    return tag + bytes(rng.choice((0, 0, 3_000_000, 5_000_000)))


@cache
def _honest() -> list[bytes]:
    spaces = [icc.rgb_profile(space, gamma) for space in icc.SPACES for gamma in (None, 1.8)]
    return [*spaces, icc.grey_profile(1.0), icc.cmyk_profile(2), icc.cmyk_profile(5)]
