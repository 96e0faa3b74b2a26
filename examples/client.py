"""What the examples share: the endpoint's arguments, a POST that is tried again, and pictures made small enough to send."""

import argparse
import io
import json
import os
import random
import sys
import time
import warnings
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import requests
from PIL import Image, ImageOps
from requests.adapters import HTTPAdapter
from urllib3 import BaseHTTPResponse
from urllib3.util import Retry

ONLY_DRAWINGS = "This is the demo model, trained on drawings: it says nothing about photographs."
# Over the throttle; a start that failed, or no environment free, which Lambda's own throttling reports as a 500.
PASSING = (429, 500, 502, 503, 504)
# The endpoint takes 64 pictures a call and about 6 MB a body: 64 files of this size fit with room for the labels.
MAX_BASE64 = 4_000_000
SMALL_FILE = MAX_BASE64 * 3 // 4 // 64
# A 64th of the 100 million pixels that a call may have.
SMALL_PICTURE = 100_000_000 // 64
# More than twice the 224 pixels that CLIP sees a side.
SHORT_SIDE = 512


class Patience(Retry):
    """Waits as long as Retry-After says, else 1, 2, 4, … seconds, up to half of it left out by chance so that clients spread."""

    nap: Callable[[float], None] = staticmethod(time.sleep)

    def sleep(self, response: BaseHTTPResponse | None = None) -> None:
        asked = self.get_retry_after(response) if response else None
        self.nap(asked or 2 ** (len(self.history) - 1) * random.uniform(0.5, 1))  # noqa: S311


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser that knows the endpoint and its key."""
    parser = argparse.ArgumentParser(description=description)
    endpoint = os.environ.get("CLIP_ENDPOINT")
    known = "the URL that `make serve` or the deployment printed; default: CLIP_ENDPOINT"
    parser.add_argument("--endpoint", default=endpoint, required=not endpoint, help=known)
    parser.add_argument(
        "--api-key", default=os.environ.get("CLIP_API_KEY"), help="default: CLIP_API_KEY, which no process list shows"
    )
    return parser


def listed(text: str) -> list[str]:
    """The labels of `a dog, a cat`."""
    return [label.strip() for label in text.split(",") if label.strip()]


def session(key: str | None, patience: type[Patience] = Patience) -> requests.Session:
    """Connections that stay open; five more tries for what passes, two where nobody answers at all."""
    retries = patience(5, connect=2, status_forcelist=PASSING, allowed_methods=None, retry_after_max=60, raise_on_status=False)
    opened = requests.Session()
    for scheme in ("http://", "https://"):
        opened.mount(scheme, HTTPAdapter(max_retries=retries))
    opened.headers.update({"x-api-key": key} if key else {})
    return opened


def ask(opened: requests.Session, endpoint: str, question: dict[str, Any], field: str) -> tuple[Any, str]:
    """That field of the answer, and the model's name. Raises SystemExit with a readable message."""
    try:
        # A redirect would carry the key to who knows where.
        answer = opened.post(endpoint, json=question, timeout=60, allow_redirects=False)
    except requests.RequestException as err:
        reason = getattr(err.args[0] if err.args else None, "reason", None) or err
        sys.exit(f"{endpoint} can't be reached: {reason}")
    if answer.status_code != HTTPStatus.OK:
        sys.exit(refusal(answer.status_code, answer.text))
    try:
        return answer.json()[field], answer.headers.get("X-Model", "")
    except (ValueError, KeyError, TypeError):
        sys.exit(f"{endpoint} answered, but not as this API does: {answer.text[:200]}")


def refusal(status: int, text: str) -> str:
    """What the endpoint said is wrong, from the API, its gateway or whatever stands between."""
    try:
        message = json.loads(text)["message"]
    except (ValueError, KeyError, TypeError):
        message = text[:200] or "nothing more"
    hints = {403: " Is the key right? Give it with --api-key or in CLIP_API_KEY."} | dict.fromkeys(PASSING, " Try again later.")
    return f"The endpoint answered {status}: {message}{hints.get(status, '')}"


def shrunk(data: bytes, side: int = SHORT_SIDE) -> tuple[bytes, int]:
    """A file to send and its number of pixels: upright, `side` pixels along its short side; or the file as it is, where that is small."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data)) as image:
            pixels = image.width * image.height
            small = len(data) <= SMALL_FILE and pixels <= SMALL_PICTURE
            # Of 16 bits a pixel Pillow would clip the light ones instead of scaling.
            if small or min(image.size) <= side or image.mode[0] in "IF":
                return data, pixels
            # Lets a JPEG be decoded at a fraction of its size.
            image.draft(None, (2 * side, 2 * side))
            upright = ImageOps.exif_transpose(image)
            clear = upright.has_transparency_data
            ready = ImageOps.cover(upright.convert("RGBA" if clear else "RGB"), (side, side))
            file = io.BytesIO()
            ready.save(file, "PNG" if clear else "JPEG", quality=90)
            return file.getvalue(), ready.width * ready.height
    except Exception:  # Pillow raises nearly everything for garbled files, of which the API says what is wrong
        return data, 0
