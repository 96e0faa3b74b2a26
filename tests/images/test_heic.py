"""HEIC, which is taken only if it is switched on."""

import importlib.metadata
import io
import re
import struct
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from classifier.contract.bundle import ImageSettings
from classifier.contract.errors import ApiError
from classifier.images.decoder import DecodedImage
from classifier.images.formats import inspect
from classifier.images.opened_image import open_image
from dev import icc
from tests.support.colour_files import scene
from tests.support.images import as_held, encoded, soft_image

pillow_heif = pytest.importorskip("pillow_heif")
SETTINGS = ImageSettings(size=64, interpolation="bicubic", resize_mode="shortest", max_batch=1)
# Earlier ones have faults that are known to the public: https://github.com/strukturag/libheif and
# https://github.com/strukturag/libde265, security advisories.
LEAST = {"pillow-heif": (1, 8, 1), "libheif": (1, 23), "libde265": (1, 1)}


def heic(image: Image.Image, **options: Any) -> bytes:
    """Of the best quality that keeps every colour."""
    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, quality=95, chroma=444, **options)
    return file.getvalue()


SOFT = soft_image(6, 5).resize((96, 80), Image.Resampling.BICUBIC)
PLAIN = heic(SOFT)


def decoded(data: bytes) -> DecodedImage:
    return open_image(data).decode(SETTINGS)


def change(data: bytes, expected: NDArray[np.uint8]) -> float:
    (square,) = decoded(data).squares
    return float(np.abs(square.astype(int) - expected).mean())


def shown(image: Image.Image) -> NDArray[np.uint8]:
    (square,) = decoded(encoded(image)).squares
    return square


def test_heic_is_refused_with_advice_unless_it_is_switched_on() -> None:
    with pytest.raises(ApiError, match="HEIC, an iPhone's format; convert it to JPEG") as caught:
        open_image(PLAIN)
    assert caught.value.status == 415


def test_its_libraries_are_newer_than_their_known_faults() -> None:
    info = pillow_heif.libheif_info()
    texts = {
        "pillow-heif": importlib.metadata.version("pillow-heif"),
        "libheif": info["libheif"],
        "libde265": info["decoders"]["libde265"],
    }
    for name, text in texts.items():
        match = re.search(r"\d+(\.\d+)+", text)
        assert match, text
        assert tuple(map(int, match[0].split("."))) >= LEAST[name], (name, text)


def test_its_library_is_imported_when_the_first_heic_comes() -> None:
    program = "import sys, classifier.images.decoder_worker as w; w._warm_up(); print(*sys.modules)"
    printed = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert "PIL.JpegImagePlugin" in printed.stdout
    assert "heif" not in printed.stdout


@pytest.mark.usefixtures("allowed")
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_it_shows_the_same_as_a_png(mode: str) -> None:
    image = soft_image(6, 5, 4).resize((96, 80), Image.Resampling.BICUBIC).convert(mode)
    assert change(heic(image), shown(image)) < 4
    assert decoded(heic(image)).width == 96


@pytest.mark.usefixtures("allowed")
@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_is_turned_once_by_its_own_property(orientation: int) -> None:
    lying, exif = as_held(SOFT, orientation)
    assert change(heic(lying, exif=exif.tobytes()), shown(SOFT)) < 4


@pytest.mark.usefixtures("allowed")
def test_its_colours_become_srgb() -> None:
    p3 = icc.in_space(scene(), "prophoto", icc.power(1.8))
    file = heic(p3, icc_profile=icc.rgb_profile("prophoto", 1.8))
    assert change(file, np.asarray(scene())) < 3
    assert decoded(file).converted_from == "made for a test"
    bt2020 = icc.in_space(scene(), "bt2020", icc.curved)
    data = heic(bt2020)
    at = data.index(b"colrnclx") + 8
    assert change(data[:at] + struct.pack(">HH", 9, 13) + data[at + 4 :], np.asarray(scene())) < 3


@pytest.mark.usefixtures("allowed")
def test_it_is_cropped_to_its_clean_aperture() -> None:
    data = bytearray(heic(SOFT, icc_profile=bytes(28)))
    at = data.index(b"colrprof")
    data[at : at + 36] = b"clap" + struct.pack(">8i", 64, 1, 66, 1, 0, 1, -4, 2)
    image = decoded(bytes(data))
    assert (image.width, image.height) == (64, 66)
    expected = shown(SOFT.crop((16, 5, 80, 71)))
    assert np.abs(image.squares[0].astype(int) - expected).mean() < 4


@pytest.mark.usefixtures("allowed")
def test_its_size_is_checked_before_anything_is_decoded() -> None:
    at = PLAIN.index(b"ispe") + 8
    for size, status in (((9000, 9000), 413), ((70_000, 2), 413), ((0, 80), 400), ((20, 20), 400)):
        with pytest.raises(ApiError) as caught:
            decoded(PLAIN[:at] + struct.pack(">II", *size) + PLAIN[at + 8 :])
        assert caught.value.status == status


@pytest.mark.usefixtures("allowed")
def test_a_file_of_another_coding_or_of_none_is_refused() -> None:
    at = PLAIN.index(b"hvc1", PLAIN.index(b"infe"))
    for kind in (b"av01", b"jpeg", b"unci", b"iovl"):
        with pytest.raises(ApiError, match="no still image in HEVC"):
            inspect(PLAIN[:at] + kind + PLAIN[at + 4 :])
    with pytest.raises(ApiError, match="no still image in HEVC"):
        inspect(PLAIN[: PLAIN.index(b"meta") - 4])


@pytest.mark.usefixtures("allowed")
def test_garbled_files_are_refused_or_seen_but_never_break() -> None:
    rng = np.random.default_rng(3)
    for _ in range(60):
        bad = bytearray(PLAIN)
        for position in rng.integers(0, rng.choice((100, 500, len(bad))), 5):
            bad[position] = rng.integers(256)
        end = len(bad) if rng.random() < 0.7 else int(rng.integers(1, len(bad)))
        try:
            assert decoded(bytes(bad[:end])).squares[0].shape == (64, 64, 3)
        except ApiError as err:
            assert err.status in (400, 413, 415)
