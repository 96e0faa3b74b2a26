"""Shared by the examples: arguments for the endpoint, a POST with retries, and images made small
enough to send.
"""

import argparse
import io
import json
import os
import random
import re
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any

import requests
from PIL import Image, ImageOps
from requests.adapters import HTTPAdapter
from urllib3 import BaseHTTPResponse
from urllib3.util import Retry

from colours import colour_options

DEMO_WARNING = "This is the demo model, trained on drawings: it says nothing about photographs."
SINGLE_LABEL = (
    "Note: probabilities add up to 1, so a single label gets 1.0 for every image. Add another, such"
    ' as "something else", or ask with multi_label.'
)
# Throttled, a failed start, or no free environment, which Lambda's own throttling reports as a 500.
RETRYABLE = (429, 500, 502, 503, 504)
# The endpoint takes 64 images a call and about 6 MB a body: 64 files of this size fit with room for
# the labels.
MAX_BASE64 = 4_000_000
SMALL_FILE_BYTES = MAX_BASE64 * 3 // 4 // 64
# A 64th of the 100 million pixels that a call may have.
SMALL_IMAGE_PIXELS = 100_000_000 // 64
# In pixels: more than twice the 224 of a side that CLIP sees.
SHORT_SIDE = 512


class Backoff(Retry):
    """Waits as long as Retry-After says, else 1, 2, 4, … seconds minus up to half at random, so
    that clients don't retry together.
    """

    wait: Callable[[float], None] = staticmethod(time.sleep)

    def sleep(self, response: BaseHTTPResponse | None = None) -> None:
        retry_after = self.get_retry_after(response) if response else None
        self.wait(retry_after or 2 ** (len(self.history) - 1) * random.uniform(0.5, 1))  # noqa: S311


def argument_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the arguments for the endpoint and its key."""
    parser = argparse.ArgumentParser(description=description)
    endpoint = os.environ.get("CLIP_ENDPOINT")
    endpoint_help = "the URL that `make serve` or the deployment printed; default: CLIP_ENDPOINT"
    parser.add_argument("--endpoint", default=endpoint, required=not endpoint, help=endpoint_help)
    key_help = "default: CLIP_API_KEY, which doesn't show up in a list of processes"
    parser.add_argument("--api-key", default=os.environ.get("CLIP_API_KEY"), help=key_help)
    return parser


def split_labels(text: str) -> list[str]:
    """The labels in `a dog, a cat`."""
    return [label.strip() for label in text.split(",") if label.strip()]


def note_single(labels: Sequence[str], multi_label: bool | None = None) -> None:
    """Says that a single label is no question."""
    if len(labels) == 1 and not multi_label:
        print(SINGLE_LABEL, file=sys.stderr)


def region() -> str | None:
    """The value of AWS_REGION, which boto3 doesn't read; None leaves it to AWS_DEFAULT_REGION and
    the profile.
    """
    return os.environ.get("AWS_REGION")


class SignedRequests(requests.auth.AuthBase):
    """Signs requests for a deployment with authentication=iam, with the credentials and the region
    of the AWS CLI. Raises SystemExit if there are none.
    """

    def __init__(self) -> None:
        # Takes a second to import, and an API key doesn't need it.
        import botocore.session
        from botocore.exceptions import BotoCoreError

        self._session = botocore.session.get_session()
        try:
            self._credentials = self._session.get_credentials()
        except BotoCoreError as err:
            sys.exit(f"Requests can't be signed: {err}")
        if not self._credentials:
            sys.exit("Requests can't be signed without credentials: aws login, or aws sso login.")

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        # The region of an address of API Gateway's own; a domain doesn't say it.
        host = re.search(r"\.execute-api\.([a-z0-9-]+)\.", str(request.url))
        named = host[1] if host else region() or self._session.get_config_variable("region")
        # The signature covers these headers alone, since proxies may change others.
        signed = AWSRequest(
            request.method,
            request.url,
            {"Content-Type": request.headers["Content-Type"]},
            request.body,
        )
        SigV4Auth(self._credentials, "execute-api", named).add_auth(signed)
        request.headers.update(dict(signed.headers))
        return request


def open_session(api_key: str | None, backoff: type[Backoff] = Backoff) -> requests.Session:
    """A session that keeps connections open. It retries RETRYABLE answers five times and failed
    connections twice.

    CLIP_AUTHENTICATION=iam signs its requests.
    """
    retries = backoff(
        5,
        connect=2,
        status_forcelist=RETRYABLE,
        allowed_methods=None,
        retry_after_max=60,
        raise_on_status=False,
    )
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retries))
    session.headers.update({"x-api-key": api_key} if api_key else {})
    session.auth = SignedRequests() if os.environ.get("CLIP_AUTHENTICATION") == "iam" else None
    return session


def post(
    session: requests.Session, endpoint: str, body: dict[str, Any], field: str
) -> tuple[Any, str]:
    """That field of the answer, and the model's name. Raises SystemExit with a readable message."""
    answer, model = ask(session, endpoint, body, field)
    return answer[field], model


def ask(
    session: requests.Session, endpoint: str, body: dict[str, Any], field: str
) -> tuple[dict[str, Any], str]:
    """The answer, which has that field, and the model's name. Raises SystemExit with a readable
    message.
    """
    try:
        # A redirect could carry the key to another server.
        response = session.post(endpoint, json=body, timeout=60, allow_redirects=False)
    except (requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema):
        sys.exit(f"{endpoint} must begin with http://, as make serve's does, or https://")
    except requests.RequestException as err:
        reason = getattr(err.args[0] if err.args else None, "reason", None) or err
        sys.exit(f"{endpoint} can't be reached: {reason}")
    if response.status_code != HTTPStatus.OK:
        sys.exit(error_message(response.status_code, response.text))
    try:
        answer = response.json()
        answer[field]
        return answer, response.headers.get("X-Model", "")
    except (ValueError, KeyError, TypeError):
        sys.exit(f"{endpoint} answered, but not as this API does: {response.text[:200]}")


def error_message(status: int, text: str) -> str:
    """The message of the API, its gateway or whatever else answered."""
    try:
        message = json.loads(text)["message"]
    except (ValueError, KeyError, TypeError):
        message = text[:200] or "nothing more"
    hints = {403: " Is the key right? Give it with --api-key or in CLIP_API_KEY."} | dict.fromkeys(
        RETRYABLE, " Try again later."
    )
    return f"The endpoint answered {status}: {message}{hints.get(status, '')}"


def model_line(model: str) -> str:
    """Says which model answers."""
    return f"Model: {model}.{f' {DEMO_WARNING}' if model == 'demo' else ''}"


def shrink(data: bytes, side: int = SHORT_SIDE) -> tuple[bytes, int]:
    """The file to send and its number of pixels.

    A large image is turned upright and resized to `side` pixels along its short side; its colour
    information is kept. A small one, a file that Pillow can't read, and AVIF, whose colours Pillow
    doesn't tell, are returned unchanged.
    """
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data)) as image:
            pixels = image.width * image.height
            small = len(data) <= SMALL_FILE_BYTES and pixels <= SMALL_IMAGE_PIXELS
            # Pillow clips images of 16 bits a pixel instead of scaling them.
            is_kept = image.mode[0] in "IF" or image.format == "AVIF"
            if small or min(image.size) <= side or is_kept:
                return data, pixels
            colours = colour_options(data, image)
            # Lets a JPEG be decoded at a fraction of its size.
            image.draft(None, (2 * side, 2 * side))
            upright = ImageOps.exif_transpose(image)
            transparent = upright.has_transparency_data
            # A profile fits the channels that it was made for.
            if upright.mode not in ("L", "LA", "CMYK"):
                upright = upright.convert("RGBA" if transparent else "RGB")
            resized = ImageOps.cover(upright, (side, side))
            file = io.BytesIO()
            is_png = transparent or "pnginfo" in colours
            resized.save(file, "PNG" if is_png else "JPEG", quality=90, **colours)
            return file.getvalue(), resized.width * resized.height
    # Pillow raises nearly every type for a damaged file; the API's answer says what is wrong with
    # it.
    except Exception:
        return data, 0
