"""Writes ICC profiles: https://www.color.org/specification/ICC.1-2022-05.pdf."""

import math
import struct
from collections.abc import Callable, Sequence

Vector = tuple[float, float, float]
# x and y of white, red, green and blue, as PNG's cHRM chunk orders them.
Chromaticities = Sequence[float]

# Lighter than this share of white, light is compressed, so that highlights don't all become white.
_KNEE = 0.8
# Points of a table on each of its three axes.
_GRID = 17
_D50 = (0.9642, 1.0, 0.8249)
# Bradford's cone responses and their inverse: http://www.brucelindbloom.com/Eqn_ChromAdapt.html
_CONES = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))
_FROM_CONES = (
    (0.9869929, -0.1470543, 0.1599627),
    (0.4323053, 0.5183603, 0.0492912),
    (-0.0085287, 0.0400428, 0.9684867),
)


def formula(
    gamma: float, scale: float = 1.0, offset: float = 0.0, slope: float = 0.0, start: float = 0.0
) -> bytes:
    """The curve (scale x + offset) ** gamma from `start` on, slope x below."""
    numbers = map(_fixed, (gamma, scale, offset, slope, start))
    return b"para" + bytes(4) + struct.pack(">HH", 3, 0) + b"".join(numbers)


def curve_profile(name: str, chromaticities: Chromaticities, curve: bytes) -> bytes | None:
    """Of a space whose three channels have the same curve.

    None for chromaticities that span no triangle.
    """
    try:
        columns = [_xyz(column) for column in _columns(chromaticities)]
    except (ZeroDivisionError, struct.error):
        return None
    tags = dict(zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True))
    return _profile(name, b"XYZ ", tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve))


def table_profile(
    name: str, chromaticities: Chromaticities, light: Callable[[Vector], Sequence[float]]
) -> bytes:
    """Of a space brighter than white.

    `light` takes codes from 0 to 1, and gives shares of white.
    """
    columns = _columns(chromaticities)
    steps = [i / (_GRID - 1) for i in range(_GRID)]
    nodes = ((r, g, b) for r in steps for g in steps for b in steps)
    table = bytearray()
    for codes in nodes:
        shares = _compressed(light(codes))
        x, y, z = (sum(s * c[i] for s, c in zip(shares, columns, strict=True)) for i in range(3))
        table += _lab(x, y, z)
    unit = b"".join(map(_fixed, (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    straight = struct.pack(">2H", 0, 65535) * 3
    head = b"mft2" + bytes(4) + bytes([3, 3, _GRID, 0]) + unit + struct.pack(">HH", 2, 2)
    return _profile(name, b"Lab ", {b"A2B0": head + straight + table + straight})


def _compressed(light: Sequence[float]) -> list[float]:
    """Keeps the proportions of the channels."""
    most = max(light)
    if most <= _KNEE:
        return list(light)
    room = 1 - _KNEE
    fitting = _KNEE + room * (1 - math.exp((_KNEE - most) / room))
    return [share * fitting / most for share in light]


def _profile(name: str, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    text = name.encode("utf-16-be")
    description = struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(text), 28) + text
    tags = tags | {b"desc": b"mluc" + bytes(4) + description, b"wtpt": _xyz(_D50)}
    index = struct.pack(">I", len(tags))
    body = b""
    start = 132 + 12 * len(tags)
    for tag, content in tags.items():
        index += tag + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(
        ">I4xI4s4s4s12x4s28x", start + len(body), 0x04400000, b"mntr", b"RGB ", connection, b"acsp"
    )
    return (header + _xyz(_D50)[8:]).ljust(128, b"\0") + index + body


def _columns(chromaticities: Chromaticities) -> list[Vector]:
    """The XYZ of full red, green and blue, adapted to ICC's white."""
    white, red, green, blue = (
        (x / y, 1.0, (1 - x - y) / y) if y else (x, 0.0, 1 - x)
        for x, y in zip(chromaticities[::2], chromaticities[1::2], strict=True)
    )
    whole = _determinant(red, green, blue)
    amounts = (
        _determinant(white, green, blue) / whole,
        _determinant(red, white, blue) / whole,
        _determinant(red, green, white) / whole,
    )
    cones = zip(_times(_CONES, _D50), _times(_CONES, white), strict=True)
    ratios = [to / of for to, of in cones]
    columns = []
    for primary, amount in zip((red, green, blue), amounts, strict=True):
        x, y, z = _times(_CONES, primary)
        adapted = (x * ratios[0] * amount, y * ratios[1] * amount, z * ratios[2] * amount)
        columns.append(_times(_FROM_CONES, adapted))
    return columns


def _determinant(a: Vector, b: Vector, c: Vector) -> float:
    return (
        a[0] * (b[1] * c[2] - b[2] * c[1])
        - b[0] * (a[1] * c[2] - a[2] * c[1])
        + c[0] * (a[1] * b[2] - a[2] * b[1])
    )


def _times(matrix: tuple[Vector, Vector, Vector], vector: Vector) -> Vector:
    x, y, z = (sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix)
    return x, y, z


def _lab(*xyz: float) -> bytes:
    """As a table holds it, of 16 bits a number."""
    parts = [value / white for value, white in zip(xyz, _D50, strict=True)]
    x, y, z = (t ** (1 / 3) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116 for t in parts)
    numbers = ((116 * y - 16) * 652.8, (500 * (x - y) + 128) * 256, (200 * (y - z) + 128) * 256)
    return struct.pack(">3H", *(max(0, min(65535, round(number))) for number in numbers))


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def _xyz(vector: Vector) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(map(_fixed, vector))
