"""The body of a request: a JSON object or an image, by its content type and its first
characters.
"""

import json
from typing import TypeAlias

from classifier.api.events import Request
from classifier.api.form import Form, read_form
from classifier.contract.errors import ApiError, quoted
from classifier.contract.request.fields import LOST_CHARACTER
from classifier.contract.request.media_types import (
    FORM_TYPE,
    HEIC_TYPES,
    IMAGE_TYPES,
    MULTIPART_TYPE,
)
from classifier.contract.strict_json import JsonObject, no_constant, no_duplicates
from classifier.images.formats import name_format

Body: TypeAlias = JsonObject | bytes | Form
EXAMPLE = '{"image_data": "…", "labels": ["…", "…"]}'
JSON_HINT = '-H "Content-Type: application/json"'
IMAGE_HINT = '-H "Content-Type: image/jpeg"'
HINT = f"for an image add {IMAGE_HINT}, for JSON {JSON_HINT}"
MAX_BRACKETS = 200_000
_BYTE_ORDER_MARK = "\ufeff"
# Files of images and archives have some of these among their first characters; text doesn't.
_START = 64
# The first characters that tell another format.
_NAMED = 1000
_BINARY = {chr(code) for code in range(32)} - set("\t\n\r\f\x1b") | {LOST_CHARACTER}


def read_body(request: Request) -> Body:
    """The JSON object, the image file or the form that the body holds. Raises ApiError."""
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise _unsupported(
            f"The body has the Content-Encoding {quoted(encoding)}; send it as it is, without that"
            " header."
        )
    header = request.headers.get("content-type", "")
    content_type = header.partition(";")[0].strip().lower()
    start = _start(request.body)
    is_image = content_type in (*IMAGE_TYPES, *HEIC_TYPES)
    if is_image and not request.query and (kind := _name(request.body)):
        # Not the labels are missing, but the content type is wrong.
        raise _unsupported(kind)
    if is_image or (content_type == FORM_TYPE and _is_binary(start)):
        return _image(request.body)
    if content_type == MULTIPART_TYPE:
        return read_form(header, _image(request.body))
    if content_type not in ("", "application/json"):
        raise _unsupported(
            _name(request.body)
            or f"The content type {quoted(content_type)} is not supported; {HINT}."
        )
    if not content_type and start and not _may_be_json(start):
        raise _unsupported(f"The header Content-Type is missing, and the body is not JSON; {HINT}.")
    value = read_json(request.body)
    if request.query:
        name = quoted(next(iter(request.query)))
        message = (
            f"The query parameter {name} can't be combined with a JSON body; put everything in the"
            " body."
        )
        raise ApiError(400, "invalid_request", message)
    return value


def read_json(body: str | bytes) -> JsonObject:
    """The JSON object of a body. Raises ApiError."""
    start = _start(body)
    if not start:
        raise ApiError(
            400,
            "invalid_json",
            f"The body is empty, which is not JSON; send {EXAMPLE}, or an image.",
        )
    if _is_utf_16(start):
        raise ApiError(400, "invalid_json", "The body is UTF-16; send JSON in UTF-8.")
    if _is_binary(start) and not _may_be_json(start):
        raise ApiError(400, "invalid_json", f"The body is not JSON but binary data; {HINT}.")
    try:
        text = (body if isinstance(body, str) else body.decode()).removeprefix(_BYTE_ORDER_MARK)
        _check_count(text.count("[") + text.count("{"))
        value = json.loads(text, object_pairs_hook=no_duplicates, parse_constant=no_constant)
    except UnicodeDecodeError as err:
        raise ApiError(400, "invalid_json", "The body is not UTF-8; send JSON in UTF-8.") from err
    except RecursionError as err:
        raise ApiError(
            400, "invalid_json", "The body is nested too deep; send a flat object."
        ) from err
    except json.JSONDecodeError as err:
        message = (
            f"The body is not JSON from line {err.lineno}, column {err.colno} on; send a JSON"
            " object."
        )
        raise ApiError(400, "invalid_json", message) from err
    except ValueError as err:
        raise ApiError(
            400, "invalid_json", "The body has a number that is too long to read."
        ) from err
    if not isinstance(value, dict):
        raise ApiError(400, "invalid_request", f"The body must be a JSON object: {EXAMPLE}.")
    return value


def _check_count(count: int) -> None:
    """Raises ApiError before json makes an object of each: no request has more than some thousands
    of lists.
    """
    if count > MAX_BRACKETS:
        message = (
            f"The body has {count:,} opening brackets and braces; at most {MAX_BRACKETS:,} are"
            " allowed."
        )
        raise ApiError(400, "invalid_json", message)


def _image(body: str | bytes) -> bytes:
    if isinstance(body, bytes):
        return body
    if LOST_CHARACTER in body:
        raise _unsupported(
            "The image arrived as text, which destroys it; send the header Content-Type exactly as"
            f" image/jpeg or another of {', '.join(IMAGE_TYPES)}."
        )
    return body.encode("utf-8", "replace")


def _name(body: str | bytes) -> str | None:
    """What the body is instead of an image. One that the gateway took for text has lost it."""
    if isinstance(body, str):
        body = b"" if LOST_CHARACTER in body else body[:_NAMED].encode("utf-8", "replace")
    return name_format(body)


def _start(body: str | bytes) -> str:
    """The first characters, without a byte order mark."""
    text = body[:_START] if isinstance(body, str) else body[:_START].decode("utf-8", "replace")
    return text.removeprefix(_BYTE_ORDER_MARK)


def _is_binary(start: str) -> bool:
    return not _BINARY.isdisjoint(start)


def _may_be_json(start: str) -> bool:
    first = start.strip()[:1]
    return (
        first in ("", *'{["')
        or _is_utf_16(start)
        or (first in tuple("-0123456789tfn") and not _is_binary(start))
    )


def _is_utf_16(start: str) -> bool:
    """Whether a zero byte is next to the first character, after a byte order mark or not. UTF-32
    counts as well.
    """
    start = start.lstrip(LOST_CHARACTER)[:4]
    return "\0" in start and start.strip("\0")[:1] in ("{", "[")


def _unsupported(message: str) -> ApiError:
    return ApiError(415, "unsupported_media_type", message)
