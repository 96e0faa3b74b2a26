"""ICC profiles of colours that a file gives as numbers: PNG's cICP, gAMA and cHRM, AVIF's nclx."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

from classifier.images.colours.icc import (
    Chromaticities,
    Vector,
    curve_profile,
    formula,
    table_profile,
)

# The light of white in cd/m²: https://www.itu.int/pub/R-REP-BT.2408, table 1.
WHITE = 203
_D65 = (0.3127, 0.329)
_C = (0.31, 0.316)
_BT_709: Chromaticities = (*_D65, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
_BT_601: Chromaticities = (*_D65, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07)
# By number, 2 being unspecified: https://www.itu.int/rec/T-REC-H.273, table 2.
_PRIMARIES: dict[int, tuple[str, Chromaticities]] = {
    1: ("BT.709", _BT_709),
    2: ("BT.709", _BT_709),
    4: ("BT.470 M", (*_C, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08)),
    5: ("BT.470 BG", (*_D65, 0.64, 0.33, 0.29, 0.6, 0.15, 0.06)),
    6: ("BT.601", _BT_601),
    7: ("SMPTE 240M", _BT_601),
    8: ("film", (*_C, 0.681, 0.319, 0.243, 0.692, 0.145, 0.049)),
    9: ("BT.2020", (*_D65, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046)),
    10: ("XYZ", (1 / 3, 1 / 3, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0)),
    11: ("DCI-P3", (0.314, 0.351, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)),
    12: ("Display P3", (*_D65, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)),
    22: ("EBU 3213", (*_D65, 0.63, 0.34, 0.295, 0.605, 0.155, 0.077)),
}
_VIDEO = ("gamma 2.4", formula(2.4))
# By number, as Chromium shows them in a PNG: H.273, table 3.
_CURVES = {
    **dict.fromkeys((1, 6, 11, 14, 15), _VIDEO),
    4: ("gamma 2.2", formula(2.2)),
    5: ("gamma 2.8", formula(2.8)),
    7: ("SMPTE 240M", formula(1 / 0.45, 1 / 1.1115, 0.1115 / 1.1115, 0.25, 0.0913)),
    8: ("linear", formula(1.0)),
    13: ("", formula(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)),
    17: ("SMPTE 428", formula(2.6, (52.37 / 48) ** (1 / 2.6))),
}


def gamma_profile(gamma: float, chromaticities: Chromaticities = _BT_709) -> bytes | None:
    """A code value's power `gamma` is its light. None for chromaticities that span no triangle."""
    return curve_profile(f"gamma {gamma:.3g}", chromaticities, formula(gamma))


@lru_cache(8)
def coded_profile(primaries: int, transfer: int) -> bytes | None:
    """By the code points of H.273; None for those that it leaves open or that no image has."""
    if primaries not in _PRIMARIES:
        return None
    name, chromaticities = _PRIMARIES[primaries]
    if transfer in _LIGHTS:
        ending, light = _LIGHTS[transfer]
        return table_profile(f"{name} {ending}", chromaticities, light)
    if transfer not in _CURVES:
        return None
    ending, curve = _CURVES[transfer]
    return curve_profile(f"{name} {ending}".strip(), chromaticities, curve)


def _pq(codes: Vector) -> list[float]:
    """https://www.itu.int/rec/R-REC-BT.2100, table 4."""
    roots = [code ** (1 / 78.84375) for code in codes]
    shares = [max(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root) for root in roots]
    return [10_000 / WHITE * share ** (1 / 0.1593017578125) for share in shares]


def _hlg(codes: Vector) -> list[float]:
    """The same by table 5, on a display of 1,000 cd/m²."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = [
        code * code / 3 if code <= 0.5 else (math.exp((code - c) / a) + b) / 12 for code in codes
    ]
    luminance = 0.2627 * scene[0] + 0.678 * scene[1] + 0.0593 * scene[2]
    return [1000 / WHITE * luminance**0.2 * part for part in scene]


_LIGHTS: dict[int, tuple[str, Callable[[Vector], Sequence[float]]]] = {
    16: ("PQ", _pq),
    18: ("HLG", _hlg),
}
