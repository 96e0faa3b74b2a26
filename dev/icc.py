"""Colour profiles made from numbers, apart from the package's own, and images in their spaces."""

import itertools
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dev.images import encoded, png_chunk, with_png_chunks

Floats = NDArray[np.float64]
D65 = (0.3127, 0.329)
D50 = (0.3457, 0.3585)
# x and y of red, green, blue and white.
SPACES = {
    "srgb": ((0.64, 0.33), (0.3, 0.6), (0.15, 0.06), D65),
    "p3": ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06), D65),
    "adobe": ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06), D65),
    "prophoto": ((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001), D50),
    "bt2020": ((0.708, 0.292), (0.17, 0.797), (0.131, 0.046), D65),
}
_CONES = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def linear(codes: Floats) -> Floats:
    """Light, 0 to 1, of sRGB codes, 0 to 1."""
    return np.where(codes <= 0.04045, codes / 12.92, ((codes + 0.055) / 1.055) ** 2.4)


def curved(light: Floats) -> Floats:
    light = light.clip(0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def power(gamma: float) -> Callable[[Floats], Floats]:
    def encode(light: Floats) -> Floats:
        return light.clip(0, 1) ** (1 / gamma)

    return encode


def pq(light: Floats) -> Floats:
    """Light as a share of a white of 203 cd/m²."""
    power_of_light = (light * 203 / 10_000).clip(0, 1) ** 0.1593017578125
    ratio = (0.8359375 + 18.8515625 * power_of_light) / (1 + 18.6875 * power_of_light)
    return np.asarray(ratio**78.84375)


def hlg(light: Floats) -> Floats:
    """The same on a display of 1,000 cd/m², for colours of BT.2020."""
    shown = light * 0.203
    luminance = shown @ [0.2627, 0.678, 0.0593]
    scene = shown * np.maximum(luminance, 1e-9)[..., None] ** (1 / 1.2 - 1)
    logarithm = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene.clip(0)), logarithm)


def in_space(image: Image.Image, space: str, encode: Callable[[Floats], Floats]) -> Image.Image:
    """An sRGB image's codes in another space, in which it shows the same."""
    *_, white = SPACES[space]
    light = linear(np.asarray(image) / 255)
    to_space = np.linalg.inv(_to_xyz(space)) @ _adapted(D65, white) @ _to_xyz("srgb")
    return Image.fromarray(np.uint8(np.round(255 * encode((light @ to_space.T).clip(0)))))


def rgb_profile(space: str, gamma: float | None = None) -> bytes:
    """Without `gamma`, of sRGB's curve."""
    *_, white = SPACES[space]
    columns = (_adapted(white, D50) @ _to_xyz(space)).T
    tags = {b"rgb"[i : i + 1] + b"XYZ": _xyz(column) for i, column in enumerate(columns)}
    return profile(b"RGB ", tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _curve(gamma)))


def grey_profile(gamma: float) -> bytes:
    return profile(b"GRAY", {b"kTRC": _curve(gamma)})


def inks(cyan: float, magenta: float, yellow: float, black: float) -> Floats:
    """The sRGB colour, 0 to 1, of inks that are weaker than those of the naive formula."""
    red = (1 - 0.85 * cyan) * (1 - 0.1 * magenta) * (1 - 0.02 * yellow)
    green = (1 - 0.35 * cyan) * (1 - 0.8 * magenta) * (1 - 0.06 * yellow)
    blue = (1 - 0.12 * cyan) * (1 - 0.45 * magenta) * (1 - 0.85 * yellow)
    return np.array([red, green, blue]) * (1 - 0.9 * black)


def cmyk_profile(points: int = 5) -> bytes:
    """A printer with those inks, by a table of this number of points on each axis."""
    table = bytearray()
    for amounts in itertools.product(np.linspace(0, 1, points), repeat=4):
        xyz = _adapted(D65, D50) @ _to_xyz("srgb") @ linear(inks(*amounts)) / _point(D50)
        x, y, z = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
        lab = ((116 * y - 16) * 652.8, (500 * (x - y) + 128) * 256, (200 * (y - z) + 128) * 256)
        table += struct.pack(">3H", *(round(value) for value in lab))
    unit = b"".join(map(_fixed, (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    head = b"mft2" + bytes(4) + bytes([4, 3, points, 0]) + unit + struct.pack(">HH", 2, 2)
    ends = struct.pack(">2H", 0, 65535)
    return profile(b"CMYK", {b"A2B0": head + 4 * ends + table + 3 * ends}, b"prtr", b"Lab ")


def profile(
    space: bytes, tags: dict[bytes, bytes], device: bytes = b"mntr", connection: bytes = b"XYZ "
) -> bytes:
    name = "made for a test".encode("utf-16-be")
    text = b"mluc" + bytes(4) + struct.pack(">II4sII", 1, 12, b"enUS", len(name), 28) + name
    tags = tags | {b"desc": text, b"cprt": text, b"wtpt": _xyz(_point(D50))}
    index, body, start = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for tag, content in tags.items():
        index += tag + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    size, version = start + len(body), 0x04200000
    header = struct.pack(">I4xI4s4s4s12x4s", size, version, device, space, connection, b"acsp")
    return (header.ljust(68, b"\0") + _xyz(_point(D50))[8:]).ljust(128, b"\0") + index + body


def png_with(image: Image.Image, *chunks: tuple[bytes, bytes], **options: Any) -> bytes:
    """A PNG with chunks, name and content, behind its header."""
    return with_png_chunks(
        encoded(image, "PNG", **options), b"".join(png_chunk(*chunk) for chunk in chunks)
    )


def cicp(primaries: int, transfer: int) -> tuple[bytes, bytes]:
    return b"cICP", bytes([primaries, transfer, 0, 1])


def gama(gamma: float) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", round(100_000 * gamma))


def chrm(space: str) -> tuple[bytes, bytes]:
    red, green, blue, white = SPACES[space]
    values = (round(100_000 * value) for point in (white, red, green, blue) for value in point)
    return b"cHRM", struct.pack(">8I", *values)


def iccp(content: bytes) -> tuple[bytes, bytes]:
    return b"iCCP", b"name\0\0" + zlib.compress(content)


def bmp_with(image: Image.Image, tag: bytes) -> bytes:
    """A BMP with a profile behind its pixels. `image`: RGB, of a width that 4 divides."""
    rows = np.asarray(image)[::-1, :, ::-1].tobytes()
    plain = struct.pack("<IiiHHIIiiII", 124, *image.size, 1, 24, 0, len(rows), 0, 0, 0, 0)
    embedded = struct.pack("<IIII", 4, 124 + len(rows), len(tag), 0)
    header = plain + bytes(16) + b"DEBM" + bytes(48) + embedded
    size = 14 + len(header) + len(rows) + len(tag)
    return b"BM" + struct.pack("<IHHI", size, 0, 0, 14 + len(header)) + header + rows + tag


def avif_with(image: Image.Image, primaries: int, transfer: int, **options: Any) -> bytes:
    """An AVIF with other numbers in its nclx box."""
    data = encoded(image, "AVIF", subsampling="4:4:4", quality=98, **options)
    at = data.index(b"colrnclx") + 8
    return data[:at] + struct.pack(">HH", primaries, transfer) + data[at + 4 :]


def cropped_avif(image: Image.Image, box: tuple[int, int, int, int], **options: Any) -> bytes:
    """An AVIF whose `clap` shows the box alone; it takes the place of a profile of its length."""
    data = bytearray(
        encoded(image, "AVIF", subsampling="4:4:4", quality=98, icc_profile=bytes(28), **options)
    )
    left, top, right, bottom = box
    across, down = left + right - image.width, top + bottom - image.height
    at = data.index(b"colrprof")
    clap = struct.pack(">8i", right - left, 1, bottom - top, 1, across, 2, down, 2)
    data[at : at + 36] = b"clap" + clap
    # Readers insist that it counts as essential. Properties are numbered in the order of the file.
    names = [
        n for n in (b"ispe", b"pixi", b"av1C", b"colrnclx", b"clap", b"irot", b"imir") if n in data
    ]
    number = 1 + sorted(names, key=data.index).index(b"clap")
    table = data.index(b"ipma") + 4 + 8 + 2
    for place in range(table + 1, table + 1 + data[table]):
        if data[place] == number:
            data[place] |= 0x80
    return bytes(data)


def _point(chromaticity: tuple[float, float]) -> Floats:
    x, y = chromaticity
    return np.array([x / y, 1, (1 - x - y) / y])


def _to_xyz(space: str) -> Floats:
    *primaries, white = SPACES[space]
    columns = np.array([_point(primary) for primary in primaries]).T
    return np.asarray(columns * np.linalg.solve(columns, _point(white)))


def _adapted(source: tuple[float, float], target: tuple[float, float]) -> Floats:
    ratios = (_CONES @ _point(target)) / (_CONES @ _point(source))
    return np.asarray(np.linalg.inv(_CONES) @ np.diag(ratios) @ _CONES)


def _curve(gamma: float | None) -> bytes:
    if gamma is None:
        numbers = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
        return b"para" + bytes(4) + struct.pack(">HH", 3, 0) + b"".join(map(_fixed, numbers))
    return b"para" + bytes(4) + struct.pack(">HH", 0, 0) + _fixed(gamma)


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def _xyz(values: Any) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(map(_fixed, values))
