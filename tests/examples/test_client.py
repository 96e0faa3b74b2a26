import io
import json
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

import classify
import client
import moderation
from classifier.contract.bundle import ImageSettings
from classifier.images.opened_image import open_image
from dev import icc
from tests.support.pictures import encoded, picture, png_header
from tests.support.programs import RecordingHandler, exit_status, response
from tests.support.requests import ROOT
from tools.local.serve import running

SAMPLES = ROOT / "examples" / "images"


def upright(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        return ImageOps.exif_transpose(image).convert("RGBA")


def exif_orientation(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


PHOTO = picture(1500, 1000)
CLEAR = PHOTO.copy()
CLEAR.putalpha(picture(1500, 1000, bands=1, seed=1))
LARGE = {
    f"JPEG turned {turn}": (encoded(PHOTO, "JPEG", quality=95, exif=exif_orientation(turn)), "JPEG")
    for turn in range(1, 9)
} | {
    "PNG turned": (encoded(PHOTO, exif=exif_orientation(6)), "JPEG"),
    "WebP turned": (encoded(PHOTO, "WEBP", quality=95, exif=exif_orientation(8)), "JPEG"),
    "grey": (encoded(PHOTO.convert("L")), "JPEG"),
    "palette": (encoded(PHOTO.quantize(256)), "JPEG"),
    "CMYK": (encoded(PHOTO.convert("CMYK"), "JPEG", quality=95), "JPEG"),
    "transparent": (encoded(CLEAR), "PNG"),
    "turned and transparent": (encoded(CLEAR, "WEBP", quality=95, exif=exif_orientation(5)), "PNG"),
}


@pytest.mark.parametrize(("data", "kind"), LARGE.values(), ids=LARGE)
def test_a_large_image_is_shrunk_and_looks_the_same(data: bytes, kind: str) -> None:
    small, pixels = client.shrink(data)
    with Image.open(io.BytesIO(small)) as image:
        assert (image.format, min(image.size), max(image.size), pixels) == (
            kind,
            512,
            768,
            512 * 768,
        )
        assert image.getexif().get(0x0112, 1) == 1
    whole = upright(data)
    assert (whole.width > whole.height) == (image.width > image.height)
    # Both at about the encoder's size, over white, because transparent pixels have no colour.
    seen = [
        Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).resize((64, 64))
        for image in (upright(small), whole)
    ]
    difference = np.abs(np.asarray(seen[0], int) - np.asarray(seen[1], int))
    assert difference.mean() < 2


P3 = icc.in_space(PHOTO, "p3", icc.curved)
GREY = icc.grey_profile(1.0)
COLOURED = {
    "RGB profile, JPEG": encoded(P3, "JPEG", quality=95, icc_profile=icc.rgb_profile("adobe", 1.5)),
    "RGB profile, PNG": encoded(P3, icc_profile=icc.rgb_profile("prophoto", 1.8)),
    "RGB profile, palette": encoded(P3.quantize(64), icc_profile=icc.rgb_profile("adobe", 1.5)),
    "RGB profile, WebP": encoded(P3, "WEBP", icc_profile=icc.rgb_profile("adobe", 1.5)),
    "grey profile": encoded(PHOTO.convert("L"), icc_profile=GREY),
    "grey profile and transparency": encoded(CLEAR.convert("LA"), icc_profile=GREY),
    "inks": encoded(PHOTO.convert("CMYK"), "JPEG", quality=95, icc_profile=icc.cmyk_profile(3)),
    "cICP": icc.png_with(P3, icc.cicp(9, 1), icc.gama(1)),
    "cICP and a profile": icc.png_with(P3, icc.cicp(9, 1), icc_profile=icc.rgb_profile("srgb")),
    "gAMA": icc.png_with(PHOTO, icc.gama(1)),
    "gAMA and cHRM": icc.png_with(PHOTO, icc.gama(1), icc.chrm("prophoto")),
    "gAMA that doesn't count": icc.png_with(PHOTO, icc.gama(1), (b"sRGB", b"\0")),
    "AVIF": icc.avif_with(P3, 9, 8),
}


@pytest.mark.parametrize("name", COLOURED)
def test_a_shrunk_image_keeps_its_colours(name: str) -> None:
    settings = ImageSettings(size=64, interpolation="bicubic", resize_mode="squash", max_batch=1)
    small, _ = client.shrink(COLOURED[name])
    whole, shrunk = (open_image(data).decode(settings) for data in (COLOURED[name], small))
    difference = whole.squares[0].astype(int) - shrunk.squares[0].astype(int)
    assert np.abs(difference).mean() < 3
    assert whole.converted_from == shrunk.converted_from
    assert (whole.converted_from is None) == (name == "gAMA that doesn't count")


@pytest.mark.parametrize(
    "data",
    [
        (SAMPLES / "dog.jpg").read_bytes(),
        encoded(picture(2000, 512)),
        encoded(
            Image.fromarray(
                np.random.default_rng(0).integers(0, 65536, (700, 700), dtype=np.uint16)
            )
        ),
        encoded(Image.new("RGB", (1200, 1200), "red")),
        png_header(5000, 5000),
        b"no picture at all",
        b"",
    ],
    ids=["a small file", "a short side", "16 bits", "few bytes", "cut off", "text", "nothing"],
)
def test_a_small_or_unreadable_file_is_sent_unchanged(data: bytes) -> None:
    assert client.shrink(data)[0] == data


def test_a_small_file_with_many_pixels_is_shrunk() -> None:
    data = encoded(Image.new("L", (5000, 4000), 128), "WEBP")
    assert len(data) < client.SMALL_FILE_BYTES
    assert client.shrink(data)[1] == 640 * 512


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_an_error_that_stays_is_reported_after_five_retries(
    status: int, backoff: type[client.Backoff], waits: list[float]
) -> None:
    recorder = RecordingHandler(response(status))
    with running(recorder) as url:
        message = exit_status(moderation.main, "--endpoint", url, backoff=backoff)
    assert message == f"The endpoint answered {status}: No. Try again later."
    assert len(recorder.events) == 6
    assert all(2**i / 2 <= wait <= 2**i for i, wait in enumerate(waits))
    assert len(waits) == 5
    assert waits != [1, 2, 4, 8, 16]


def test_a_failed_connection_is_retried_twice(
    backoff: type[client.Backoff], waits: list[float]
) -> None:
    message = exit_status(moderation.main, "--endpoint", "http://127.0.0.1:9/", backoff=backoff)
    assert message.startswith("http://127.0.0.1:9/ can't be reached")
    assert message.endswith("Connection refused")
    assert len(waits) == 2


def test_a_broken_connection_is_retried(backoff: type[client.Backoff], waits: list[float]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as broken:

        def hang_up() -> None:
            for _ in range(6):
                broken.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        message = exit_status(
            moderation.main,
            "--endpoint",
            f"http://127.0.0.1:{broken.getsockname()[1]}/",
            backoff=backoff,
        )
        thread.join()
    assert "can't be reached" in message
    assert len(waits) == 5


def test_the_key_does_not_follow_a_redirect() -> None:
    elsewhere = RecordingHandler(response(200))
    with (
        running(elsewhere) as other,
        running(RecordingHandler(response(307, "moved", Location=other))) as url,
    ):
        assert (
            exit_status(moderation.main, "--endpoint", url, "--api-key", "k")
            == "The endpoint answered 307: moved"
        )
    assert elsewhere.events == []


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (403, json.dumps({"message": "Forbidden"}), "403: Forbidden Is the key right?"),
        (400, json.dumps({"message": "labels is missing."}), "400: labels is missing."),
        (404, "<html>", "404: <html>"),
        (418, "", "418: nothing more"),
        (200, "<html>", "not as this API does: <html>"),
        (200, "[]", "not as this API does: []"),
    ],
)
def test_an_error_message_of_the_endpoint_is_shown(status: int, body: str, message: str) -> None:
    with running(RecordingHandler(response(status, body))) as url:
        assert message in exit_status(moderation.main, "--endpoint", url)
        assert message in exit_status(
            classify.main, SAMPLES, "--endpoint", url, "--labels", "a dog"
        )


def test_requests_are_signed_where_the_deployment_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    handler = RecordingHandler(response(200, "{}"))
    for name, value in {
        "CLIP_AUTHENTICATION": "iam",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "eu-central-1",
    }.items():
        monkeypatch.setenv(name, value)
    with running(handler) as url:
        client.open_session(None).post(url, json={"labels": ["a"]}, timeout=10)
    signature = handler.events[0]["headers"]["authorization"]
    assert signature.startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert (
        "/eu-central-1/execute-api/aws4_request, SignedHeaders=content-type;host;x-amz-date,"
        " Signature=" in signature
    )


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        # What `aws login` writes. Without its extra crt botocore asks for an installation.
        ("login_session = arn:aws:iam::123456789012:user/me", "Please reauthenticate with"),
        ("", "without credentials"),
    ],
)
def test_who_is_not_signed_in_is_told_so_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str, message: str
) -> None:
    (tmp_path / "config").write_text(f"[default]\n{profile}\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(SystemExit, match=message) as raised:
        client.SignedRequests()
    assert "aws login" in str(raised.value)
