"""Colours against those that Chromium shows: its own if it is installed, else recorded ones."""

import struct
import zlib
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from classifier.api.handler import Handler
from classifier.contract.bundle import ImageSettings
from classifier.images.colours.conversion import MAX_PROFILE, find_conversion
from classifier.images.decoder import DecodedImage
from classifier.images.opened_image import open_image
from dev import icc
from tests.support import colour_files
from tests.support.images import encoded, soft_image
from tests.support.requests import ask, base64_of, event

SETTINGS = ImageSettings(
    size=colour_files.SIDE, interpolation="bicubic", resize_mode="shortest", max_batch=1
)
LABELS = (
    ["a dog", "a cat", "a house", "a bird", "a car", "a pizza", "a flower", "a star"],
    [f"a {colour} background" for colour in ("red", "green", "blue", "white", "black", "purple")],
)
TAGGED = colour_files.tagged()
TEXTURED = colour_files.textured()
INKED = {f"CMYK by {points} points": points for points in colour_files.TABLES}
BRIGHT = colour_files.bright()


def opened(data: bytes) -> tuple[DecodedImage, NDArray[np.uint8]]:
    """The decoded image, and uint8 [64, 64, 3]."""
    image = open_image(data).decode(SETTINGS)
    (square,) = image.squares
    return image, square


def pixels(data: bytes) -> NDArray[np.uint8]:
    return opened(data)[1]


def far(handler: Handler, data: bytes, plain: NDArray[np.uint8]) -> float:
    """The largest difference between the probabilities of a file and of plain pixels."""
    images = [base64_of(data), base64_of(encoded(Image.fromarray(plain)))]
    differences = list[float]()
    for labels in LABELS:
        status, body, _ = ask(handler, event({"images": images, "labels": labels}))
        assert status == 200
        one, other = ({**entry["result"]} for entry in body["results"])
        differences += [abs(one[label] - other[label]) for label in labels]
    return max(differences)


@pytest.mark.parametrize("name", TAGGED)
def test_colours_are_those_that_chromium_shows(
    shown: dict[str, NDArray[np.uint8]], name: str
) -> None:
    """Two ways to round differ by 1."""
    assert np.abs(pixels(TAGGED[name]).astype(int) - shown[name]).max() <= 1


@pytest.mark.parametrize("name", TEXTURED)
def test_probabilities_are_those_of_what_chromium_shows(
    handler: Handler, shown: dict[str, NDArray[np.uint8]], name: str
) -> None:
    assert far(handler, TEXTURED[name], shown[name]) <= 0.01


@pytest.mark.parametrize("name", INKED)
def test_inks_are_about_those_that_chromium_shows(
    handler: Handler, shown: dict[str, NDArray[np.uint8]], name: str
) -> None:
    data = colour_files.inked(INKED[name])
    assert np.abs(pixels(data).astype(int) - shown[name]).mean() < 2
    assert far(handler, data, shown[name]) <= 0.05


def test_black_ink_is_that_of_the_printer() -> None:
    amounts = [
        (0.0, 0.0, 0.0, 1.0),
        (0.0, 0.5, 0.0, 0.5),
        (0.5, 0.0, 1.0, 0.5),
        (1.0, 1.0, 1.0, 1.0),
    ]
    for ink in amounts:
        flat = Image.new("CMYK", (64, 64), tuple(round(255 * amount) for amount in ink))
        data = encoded(flat, "JPEG", icc_profile=icc.cmyk_profile(5), quality=97)
        assert np.abs(pixels(data)[32, 32] - 255 * icc.inks(*ink)).max() < 4


@pytest.mark.parametrize("name", BRIGHT)
def test_bright_images_are_about_those_that_chromium_shows(
    handler: Handler, shown: dict[str, NDArray[np.uint8]], name: str
) -> None:
    assert far(handler, BRIGHT[name], shown[name]) <= 0.2


@pytest.mark.parametrize("transfer", [16, 18])
def test_bright_images_show_the_scene_that_they_were_made_of(
    handler: Handler, transfer: int
) -> None:
    inside = icc.in_space(colour_files.scene(), "bt2020", {16: icc.pq, 18: icc.hlg}[transfer])
    scene = np.asarray(colour_files.scene())
    for data in (icc.png_with(inside, icc.cicp(9, transfer)), icc.avif_with(inside, 9, transfer)):
        assert np.abs(pixels(data).astype(int) - scene).mean() < 4
        assert far(handler, data, scene) <= 0.2


@pytest.mark.parametrize("transfer", [16, 18])
def test_light_above_white_is_still_told_apart(transfer: int) -> None:
    ramp = Image.linear_gradient("L").transpose(Image.Transpose.ROTATE_90).resize((64, 64))
    row = pixels(icc.png_with(ramp.convert("RGB"), icc.cicp(9, transfer)))[32, :, 0].astype(int)
    assert all(left >= right for left, right in pairwise(row)) or all(
        left <= right for left, right in pairwise(row)
    )
    assert min(row) < 3
    assert max(row) > 252
    # 203 cd/m² are white, compressed to leave room for highlights.
    white = Image.new("RGB", (64, 64), (255, 255, 255))
    flat = icc.in_space(white, "bt2020", {16: icc.pq, 18: icc.hlg}[transfer])
    assert 240 <= pixels(icc.png_with(flat, icc.cicp(9, transfer))).min() < 255


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF"])
@pytest.mark.parametrize(
    "tag",
    [
        b"garbage" * 40,
        icc.rgb_profile("prophoto", 1.8)[:300],
        icc.rgb_profile("prophoto", 1.8)[:-1],
        icc.grey_profile(1.0),
        icc.cmyk_profile(2),
        icc.profile(b"RGB ", {}),
        icc.profile(b"RGB ", {b"A2B0": b"mft2" + bytes(60)}),
        icc.rgb_profile("prophoto", 1.8).replace(b"mntr", b"link"),
        icc.rgb_profile("srgb"),
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
    ],
    ids=["garbage", "cut", "short", "grey", "inks", "empty", "table", "link", "sRGB", "lcms"],
)
def test_a_profile_that_says_nothing_of_use_changes_no_bit(kind: str, tag: bytes) -> None:
    image, options = colour_files.scene(), colour_files.FORMATS[kind]
    tagged, square = opened(encoded(image, kind, icc_profile=tag, **options))
    np.testing.assert_array_equal(square, pixels(encoded(image, kind, **options)))
    assert tagged.converted_from is None
    assert not tagged.is_profile_too_large


def padded(tag: bytes, size: int) -> bytes:
    tag = tag.ljust(size, b"\0")
    return struct.pack(">I", size) + tag[4:]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF"])
def test_a_profile_of_4_mb_counts_and_a_larger_one_is_passed_over_and_reported(
    handler: Handler, kind: str
) -> None:
    image, options = colour_files.scene(), colour_files.FORMATS[kind]
    plain = pixels(encoded(image, kind, **options))
    for size, is_used in ((MAX_PROFILE, True), (MAX_PROFILE + 1, False)):
        tag = padded(icc.rgb_profile("prophoto", 1.8), size)
        data = encoded(image, kind, icc_profile=tag, **options)
        tagged, square = opened(data)
        assert (not np.array_equal(square, plain)) == is_used
        assert tagged.is_profile_too_large != is_used
        if len(data) > 4_000_000:
            continue
        body = {"image_data": base64_of(data), "labels": ["a", "b"], "details": True}
        _, answer, _ = ask(handler, event(body))
        assert ("ignored" in answer["image"]) != is_used


def test_the_answer_names_the_colour_space_only_if_something_was_converted(
    handler: Handler,
) -> None:
    for name, converted_from in (
        ("p3 JPEG", "made for a test"),
        ("PNG cICP 12 13", "Display P3"),
        ("PNG gAMA with cHRM", "gamma 2"),
        ("AVIF nclx 9 13", "BT.2020"),
        ("sRGB's own profile", None),
        ("PNG sRGB over gAMA", None),
    ):
        body = {"image_data": base64_of(TAGGED[name]), "labels": ["a", "b"], "details": True}
        _, answer, _ = ask(handler, event(body))
        assert answer["image"].get("converted_from") == converted_from, name
        assert "ignored" not in answer["image"]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P"])
def test_a_large_image_is_converted_after_it_is_reduced_to_the_same_colours(mode: str) -> None:
    tag = icc.grey_profile(1.0) if mode in ("L", "LA") else icc.rgb_profile("adobe", 1.5)
    patches = soft_image(4, 4, 4).convert(mode)
    small, large = (patches.resize((side, side), Image.Resampling.NEAREST) for side in (64, 2112))
    one, other = (
        pixels(encoded(image, icc_profile=tag, compress_level=1)).astype(int)
        for image in (small, large)
    )
    assert np.abs(one - other).mean() < 4


def test_regions_have_the_colours_of_the_whole() -> None:
    tag = icc.rgb_profile("adobe", 1.5)
    flat = Image.new("RGB", (2500, 2000), (200, 100, 50))
    for kind in ("JPEG", "PNG"):
        data = encoded(flat, kind, icc_profile=tag)
        decoded = open_image(data).decode(SETTINGS, regions=3)
        [whole] = decoded.squares
        assert decoded.region_squares
        assert abs(int(whole[32, 32, 2]) - 50) > 5
        for part in decoded.region_squares:
            np.testing.assert_array_equal(part[32, 32], whole[32, 32])


def test_profiles_in_a_jpegs_segments_are_joined_by_their_numbers() -> None:
    tag = icc.rgb_profile("prophoto", 1.8) + bytes(140_000)
    tag = struct.pack(">I", len(tag)) + tag[4:]
    data = encoded(colour_files.scene(), "JPEG", icc_profile=tag)
    starts = [at for at in range(len(data)) if data.startswith(b"ICC_PROFILE\0", at)]
    ends = [start + struct.unpack_from(">H", data, start - 2)[0] - 2 for start in starts]
    segments = [data[start - 4 : end] for start, end in zip(starts, ends, strict=True)]
    assert len(segments) == 3
    head, tail = data[: starts[0] - 4], data[ends[-1] :]
    for order in ((0, 1, 2), (2, 0, 1), (2, 1, 0)):
        swapped = head + b"".join(segments[i] for i in order) + tail
        np.testing.assert_array_equal(pixels(swapped), pixels(data))
    np.testing.assert_array_equal(pixels(head + b"".join(segments[:2]) + tail), pixels(head + tail))


def test_a_deflated_profile_costs_no_more_than_its_limit() -> None:
    flood = zlib.compress(bytes(100 << 20), 9)
    assert find_conversion("RGB", [flood]) == (None, True)
