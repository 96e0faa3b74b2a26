"""The same image in every format and colour space that this package converts."""

import struct
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from dev import icc
from tests.support.images import encoded

# The side of the demo model's square, so that nothing is resized.
SIDE = 64
RGB_SPACES: dict[str, float | None] = {"p3": None, "adobe": 2.2, "prophoto": 1.8, "bt2020": 2.4}
FORMATS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "JPEG": {"quality": 97, "subsampling": 0},
    "WEBP": {"lossless": True},
    "AVIF": {"quality": 97, "subsampling": "4:4:4"},
}
LOSSLESS = ("PNG", "WEBP")
# Points on an axis of a printer's table.
TABLES = (6, 11)


@cache
def scene() -> Image.Image:
    """A house under the sun with a tree."""
    image = Image.new("RGB", (SIDE, SIDE), (120, 170, 90))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, SIDE, 27), fill=(90, 150, 220))
    draw.ellipse((45, 4, 60, 19), fill=(250, 220, 60))
    draw.rectangle((10, 30, 30, 52), fill=(190, 90, 60))
    draw.polygon([(7, 30), (20, 17), (33, 30)], fill=(150, 40, 50))
    draw.ellipse((37, 32, 57, 53), fill=(230, 120, 160))
    draw.rectangle((0, 58, SIDE, SIDE), fill=(20, 25, 30))
    return image


def printed() -> Image.Image:
    """Patches of ink, CMYK, without black: Chromium mixes that of the other three."""
    image = Image.new("CMYK", (SIDE, SIDE))
    amounts = (
        (0, 0, 0, 0),
        (0.9, 0.1, 0, 0),
        (0, 0.8, 0.9, 0),
        (0.2, 0.1, 0.9, 0),
        (0.5, 0.4, 0.3, 0),
        (0.9, 0.8, 0.1, 0),
        (0.1, 0.2, 0.1, 0),
        (0.1, 0.6, 0.2, 0),
    )
    for i, ink in enumerate(amounts):
        box = (i % 4 * 16, i // 4 * 32, i % 4 * 16 + 16, i // 4 * 32 + 32)
        image.paste(tuple(round(255 * amount) for amount in ink), box)
    return image


def all_files() -> dict[str, bytes]:
    printed_files = {f"CMYK by {points} points": inked(points) for points in TABLES}
    return tagged() | textured() | printed_files | bright()


def tagged() -> dict[str, bytes]:
    """Files in RGB and grey by name: what is converted, and in which format."""
    image, grey = scene(), scene().convert("L")
    files = _in_spaces(image)
    for gamma in (1.0, 1.8):
        for kind in ("PNG", "JPEG"):
            tag = icc.grey_profile(gamma)
            files[f"grey {gamma} {kind}"] = encoded(grey, kind, icc_profile=tag, **FORMATS[kind])
    p3, tag = icc.in_space(image, "p3", icc.curved), icc.rgb_profile("p3")
    adobe = icc.rgb_profile("adobe", 1.8)
    half = p3.copy()
    half.putalpha(Image.linear_gradient("L").resize(p3.size))
    files |= {
        "adobe BMP": icc.bmp_with(icc.in_space(image, "adobe", icc.power(1.8)), adobe),
        "p3 half transparent PNG": encoded(half, icc_profile=tag),
        "p3 half transparent WEBP": encoded(
            half, "WEBP", lossless=True, exact=True, icc_profile=tag
        ),
        "p3 palette PNG": encoded(p3.quantize(16, dither=Image.Dither.NONE), icc_profile=tag),
        "p3 palette with transparency": encoded(p3.quantize(16), transparency=3, icc_profile=tag),
        "grey 1.0 half transparent": encoded(half.convert("LA"), icc_profile=icc.grey_profile(1.0)),
        "grey 1.0 of 16 bits": encoded(
            Image.fromarray(np.asarray(grey).astype(np.uint16) * 257),
            icc_profile=icc.grey_profile(1.0),
        ),
        "rgb profile in grey PNG": encoded(grey, icc_profile=adobe),
        "rgb profile in grey JPEG": encoded(grey, "JPEG", quality=97, icc_profile=adobe),
        "grey profile in RGB PNG": encoded(image, icc_profile=icc.grey_profile(1.0)),
        "grey profile in RGB WEBP": encoded(
            image, "WEBP", lossless=True, icc_profile=icc.grey_profile(1.0)
        ),
        "sRGB's own profile": encoded(image, icc_profile=icc.rgb_profile("srgb")),
    }
    return files | _chunks() | _coded_avif()


def textured() -> dict[str, bytes]:
    """As in a photograph, no two pixels are alike, so that what is rounded adds up to nothing."""
    noise = np.random.default_rng(0).integers(-3, 4, (SIDE, SIDE, 3))
    image = Image.fromarray((np.asarray(scene()) + noise).clip(0, 255).astype(np.uint8))
    p3 = icc.in_space(image, "p3", icc.curved)
    lossy = encoded(p3, "WEBP", quality=90, icc_profile=icc.rgb_profile("p3"))
    files = _in_spaces(image) | {"p3 WEBP of quality 90": lossy}
    return {f"textured {name}": data for name, data in files.items()}


def _in_spaces(image: Image.Image) -> dict[str, bytes]:
    files = {}
    for space, gamma in RGB_SPACES.items():
        inside = icc.in_space(image, space, icc.power(gamma) if gamma else icc.curved)
        tag = icc.rgb_profile(space, gamma)
        for kind, options in FORMATS.items():
            files[f"{space} {kind}"] = encoded(inside, kind, icc_profile=tag, **options)
    return files


def _chunks() -> dict[str, bytes]:
    image = scene()
    p3, bt2020 = (icc.in_space(image, space, icc.curved) for space in ("p3", "bt2020"))
    profile = icc.iccp(icc.rgb_profile("adobe", 2.2))
    srgb = (b"sRGB", b"\0")
    late = encoded(image)
    files = {
        "cICP over iCCP and gAMA": icc.png_with(p3, icc.cicp(12, 13), profile, icc.gama(1)),
        "iCCP over sRGB and gAMA": icc.png_with(p3, profile, srgb, icc.gama(1)),
        "sRGB over gAMA": icc.png_with(image, srgb, icc.gama(1), icc.chrm("p3")),
        "gAMA": icc.png_with(image, icc.gama(1)),
        "gAMA 0.6": icc.png_with(image, icc.gama(0.6)),
        "gAMA like sRGB's": icc.png_with(image, icc.gama(0.45455)),
        "gAMA with cHRM": icc.png_with(p3, icc.gama(0.5), icc.chrm("p3")),
        "gAMA like sRGB's with cHRM": icc.png_with(p3, icc.gama(0.45455), icc.chrm("p3")),
        "sRGB of no intent, then gAMA": icc.png_with(image, (b"sRGB", b"\x09"), icc.gama(1)),
        "empty sRGB, then gAMA": icc.png_with(image, (b"sRGB", b""), icc.gama(1)),
        "iCCP of no method": icc.png_with(
            image, (b"iCCP", profile[1].replace(b"\0\0", b"\0\1", 1))
        ),
        "iCCP of no name": icc.png_with(image, (b"iCCP", profile[1].removeprefix(b"name"))),
        "iCCP without its end": icc.png_with(image, (b"iCCP", profile[1][:-4])),
        "cHRM alone": icc.png_with(image, icc.chrm("p3")),
        "gAMA in grey": icc.png_with(image.convert("L"), icc.gama(1)),
        "gAMA of nothing": icc.png_with(image, icc.gama(0)),
        "broken iCCP, then gAMA": icc.png_with(image, icc.iccp(b"broken" * 50), icc.gama(1)),
        "cICP of limited range": icc.png_with(image, (b"cICP", bytes([12, 13, 0, 0]))),
        "cICP of unspecified curve": icc.png_with(image, icc.cicp(12, 2)),
    }
    for transfer in (1, 4, 5, 6, 7, 8, 14, 15, 17):
        files[f"cICP 1 {transfer}"] = icc.png_with(image, icc.cicp(1, transfer))
    for primaries in (4, 5, 6, 7, 8, 9, 10, 11, 12, 22):
        files[f"cICP {primaries} 13"] = icc.png_with(bt2020, icc.cicp(primaries, 13))
    gama = files["gAMA"][33:49]
    files["gAMA behind the pixels"] = late[:-12] + gama + late[-12:]
    files["gAMA of a wrong checksum"] = late[:33] + gama[:-1] + b"\0" + late[33:]
    return {f"PNG {name}": data for name, data in files.items()}


def _coded_avif() -> dict[str, bytes]:
    image, files = scene(), {}
    for transfer in (1, 4, 5, 6, 7, 8, 14, 15, 17):
        files[f"nclx 1 {transfer}"] = icc.avif_with(image, 1, transfer)
    for primaries in (2, 4, 5, 6, 9, 11, 12, 22):
        files[f"nclx {primaries} 13"] = icc.avif_with(image, primaries, 13)
    files["profile over nclx"] = encoded(
        icc.in_space(image, "p3", icc.curved),
        "AVIF",
        icc_profile=icc.rgb_profile("p3"),
        **FORMATS["AVIF"],
    )
    return {f"AVIF {name}": data for name, data in files.items()}


def bright() -> dict[str, bytes]:
    """Files in PQ and HLG that say that nothing is lighter than white.

    Without that word, Chromium makes room for highlights, and shows all the rest half as light.
    """
    image = scene()
    most = (b"cLLI", struct.pack(">II", 203 * 10_000, 203 * 10_000))
    files = {}
    for name, transfer, encode in (("PQ", 16, icc.pq), ("HLG", 18, icc.hlg)):
        inside = icc.in_space(image, "bt2020", encode)
        files[f"{name} PNG"] = icc.png_with(inside, icc.cicp(9, transfer), most)
    return files


def inked(points: int) -> bytes:
    """Between the points of a profile's table, one interpolates as one likes."""
    return encoded(
        printed(), "JPEG", icc_profile=icc.cmyk_profile(points), quality=97, subsampling=0
    )
