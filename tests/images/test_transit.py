"""Files that a transfer as text has damaged: named, and never seen in a whole file."""

import base64
import random
from typing import Any

import numpy as np
import pytest
from PIL import Image

from classifier.contract.errors import ApiError
from classifier.images.formats import inspect
from classifier.images.opened_image import open_image
from tests.support.images import encoded, soft_image
from tests.support.pixels import SETTINGS

SCENE = soft_image(384, 300)
NOISE = soft_image(200, 200)
FILES = {
    "JPEG": encoded(SCENE, "JPEG", quality=90),
    "small JPEG": encoded(soft_image(64, 64), "JPEG"),
    "optimized JPEG": encoded(SCENE, "JPEG", optimize=True),
    "progressive JPEG": encoded(SCENE, "JPEG", progressive=True),
    "PNG": encoded(NOISE),
    "GIF": encoded(SCENE.quantize(64), "GIF"),
    "WEBP": encoded(SCENE, "WEBP", quality=90),
    "BMP": encoded(SCENE, "BMP"),
    "AVIF": encoded(SCENE, "AVIF", quality=90),
}


def refusal(data: bytes) -> str:
    with pytest.raises(ApiError) as caught:
        open_image(data).decode(SETTINGS)
    assert caught.value.status in (400, 415)
    return caught.value.message


@pytest.mark.parametrize("name", FILES)
def test_line_feeds_that_became_cr_lf_are_named(name: str) -> None:
    message = refusal(FILES[name].replace(b"\n", b"\r\n"))
    assert "line ends were" in message
    assert "binary" in message


@pytest.mark.parametrize("name", sorted(FILES.keys() - {"BMP", "AVIF"}))
@pytest.mark.parametrize("removed", [b"\r\n", b"\r\n\0"])
def test_line_ends_that_curl_has_removed_are_named(name: str, removed: bytes) -> None:
    if name == "WEBP" and b"\0" in removed:
        return
    assert "--data-binary" in refusal(FILES[name].translate(None, removed))


@pytest.mark.parametrize("name", sorted(FILES.keys() - {"BMP"}))
@pytest.mark.parametrize(("before", "after"), [(b"\n", b"\r"), (b"\r", b"\n"), (b"\r", b"")])
def test_line_ends_that_became_others_are_named(name: str, before: bytes, after: bytes) -> None:
    if name == "small JPEG" or (name == "WEBP" and not after):
        return
    assert "line ends were" in refusal(FILES[name].replace(before, after))


def test_other_losses_of_a_transfer_as_text_are_named() -> None:
    png, jpeg = FILES["PNG"], FILES["JPEG"]
    assert "line ends" in refusal(png.replace(b"\r\n", b"\n"))
    for data in (png, jpeg):
        for text in (data.decode("utf-8", "replace"), data.decode("latin-1")):
            assert "read as text" in refusal(text.encode())
        assert "Python's text for bytes" in refusal(str(data).encode())
        assert "Python's text for bytes" in refusal(str(base64.b64encode(data)).encode())


def drawn(choose: random.Random) -> Image.Image:
    """Flat, striped, tiled, graded or noisy: what makes regular bytes and irregular ones."""
    rng = np.random.default_rng(choose.getrandbits(32))
    width, height = choose.choice([(1, 1), (9, 300), (64, 64), (200, 90)])
    tile = rng.integers(0, 256, (*choose.choice([(1, 1), (1, 8), (8, 8), (16, 1), (90, 200)]), 3))
    across = -(-width // tile.shape[1])
    down = -(-height // tile.shape[0])
    repeated = np.tile(tile, (down, across, 1))[:height, :width]
    ramp = np.linspace(0, choose.choice([0, 0, 90]), width)[:, None]
    return Image.fromarray((repeated * 0.6 + ramp).astype(np.uint8))


def saved(choose: random.Random) -> bytes:
    image = drawn(choose)
    kind = choose.choice(["JPEG", "JPEG", "JPEG", "GIF", "GIF", "PNG", "BMP", "WEBP"])
    text = b"a line\r\n" * choose.choice([0, 0, 5, 60])
    options: dict[str, Any] = {}
    if kind in ("JPEG", "GIF"):
        options["comment"] = text
    if kind == "JPEG":
        options |= {"quality": choose.choice([5, 50, 75, 90, 95, 100])}
        options |= {"optimize": choose.random() < 0.5, "subsampling": choose.randrange(3)}
    elif kind == "GIF":
        image = image.quantize(choose.choice([2, 16, 256]))
    return encoded(image, kind, **options) + text


@pytest.mark.parametrize("seed", range(8))
def test_no_whole_file_is_taken_for_a_damaged_one(seed: int) -> None:
    choose = random.Random(seed)
    for _ in range(150):
        inspect(saved(choose))
