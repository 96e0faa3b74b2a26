"""BMP files."""

import struct

from classifier.images.formats.image_file import MAX_RLE_PIXELS, DamagedError, ImageFile


def read_bmp(data: bytes) -> ImageFile:
    (header,) = struct.unpack_from("<I", data, 14)
    if header == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        return ImageFile("BMP", width, height, data)
    width, height, _, bits, compression = struct.unpack_from("<IiHHI", data, 18)
    height = abs(height)
    if compression in (1, 2) and width * height > MAX_RLE_PIXELS:
        raise DamagedError(
            f"image is compressed and has more than {MAX_RLE_PIXELS:,} pixels; save it as PNG"
        )
    alpha = compression == 3 and bits == 32
    return ImageFile("BMP", width, height, data, alpha, profiles=_profiles(data, header))


def _profiles(data: bytes, header: int) -> tuple[bytes, ...]:
    """The profile of a header of version five. Chromium, too, ignores colours given as numbers:
    https://learn.microsoft.com/windows/win32/api/wingdi/ns-wingdi-bitmapv5header
    """
    if header < 124 or data[70:74] != b"DEBM":
        return ()
    start, size = struct.unpack_from("<II", data, 126)
    return (data[14 + start : 14 + start + size],)
