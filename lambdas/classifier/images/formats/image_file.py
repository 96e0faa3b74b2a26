"""The result of inspecting a file, and the limits on its parts."""

from dataclasses import dataclass

# JPEG and WebP hold 16 bits for a side; no camera or screen passes it.
MAX_SIDE = 65_535
# Segments, chunks, blocks or boxes of one file. A file of 6 MB by a usual program has a few
# thousand at most.
MAX_PARTS = 10_000
# A progressive JPEG by a usual program has 6 to 15 scans.
MAX_SCANS = 100
# Parts of an AVIF image, such as tiles of a grid, and their properties.
MAX_ITEMS = 500
# Pillow decodes run lengths in Python: a million pixels take up to a second.
MAX_RLE_PIXELS = 1_000_000
# Bytes of inflated metadata that are searched for an orientation.
MAX_METADATA = 1 << 20
PixelBox = tuple[int, int, int, int]


@dataclass(frozen=True)
class ImageFile:
    """`data` decodes to the image; `exif`, from its TIFF header on, tells its orientation.

    `frame` is the box of the first frame on its canvas if it is smaller. `ends` tells whether a
    JPEG has its end marker. `detail` is the position in `data` of a progressive JPEG's last scan if
    that only adds detail, else 0. `transparent` is the 16-bit grey value or colour that means
    transparent, which Pillow compares with 8 bits. `profiles` are ICC profiles, of which the first
    that fits describes the colours; a PNG's is deflated. `crop` is the part of the image that is
    shown, before it is turned. `share` is below 1 if the file is shorter than it says.
    """

    format: str
    width: int
    height: int
    data: bytes
    alpha: bool = False
    exif: bytes = b""
    frame: PixelBox | None = None
    ends: bool = True
    detail: int = 0
    transparent: tuple[int, ...] | None = None
    profiles: tuple[bytes, ...] = ()
    crop: PixelBox | None = None
    share: float = 1.0


class DamagedError(Exception):
    """The file breaks the rules of its format; the message says how."""


def cut_off(share: float) -> DamagedError:
    percent = int(100 * share)
    return DamagedError(f"image is cut off: {percent}% of its bytes are there. Send the whole file")


def too_many(parts: str, most: int) -> DamagedError:
    return DamagedError(f"image has more than {most:,} {parts}; save it again with a usual program")


def check_parts(count: int, parts: str) -> None:
    if count > MAX_PARTS:
        raise too_many(parts, MAX_PARTS)
