"""The colour space of a PNG."""

import struct
from collections.abc import Mapping

from classifier.images.colours.profiles import coded_profile, gamma_profile

# The gamma that is taken for sRGB's curve, which has no exact one.
_SRGB_GAMMA = 2.2
# libpng's threshold for a difference between gammas that counts: PNG_GAMMA_THRESHOLD in pngpriv.h.
_INSIGNIFICANT = 0.05
# The values that an sRGB chunk may hold.
_INTENTS = (b"\0", b"\1", b"\2", b"\3")
COLOUR_CHUNKS = (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM")


def png_profiles(chunks: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
    """Profiles by the contents of COLOUR_CHUNKS, the one that counts first; iCCP's stays deflated.

    The order is that of https://www.w3.org/TR/png-3/#color-chunk-precendence.
    """
    coded = chunks.get(b"cICP", b"")
    # RGB of full range; others are for video.
    if len(coded) == 4 and coded[2:] == b"\0\1":
        profile = coded_profile(coded[0], coded[1])
        if profile:
            return (profile,)
    # Deflate is the only method.
    name, _, deflated = chunks.get(b"iCCP", b"").partition(b"\0")
    profiles = [deflated[1:]] if name and deflated[:1] == b"\0" else []
    if chunks.get(b"sRGB") not in _INTENTS and len(chunks.get(b"gAMA", b"")) == 4:
        profiles += _by_gamma(chunks[b"gAMA"], chunks.get(b"cHRM", b""))
    return tuple(profiles)


def _by_gamma(gamma: bytes, chromaticities: bytes) -> list[bytes]:
    (value,) = struct.unpack(">I", gamma)
    if not value:
        return []
    exponent = 100_000 / value
    if len(chromaticities) == 32:
        points = [value / 100_000 for value in struct.unpack(">8I", chromaticities)]
        profile = gamma_profile(exponent, points)
    elif abs(exponent / _SRGB_GAMMA - 1) < _INSIGNIFICANT:
        return []
    else:
        profile = gamma_profile(exponent)
    return [profile] if profile else []
