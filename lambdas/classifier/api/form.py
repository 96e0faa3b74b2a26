"""A form with files, multipart/form-data, as `curl -F` and browsers send it.

https://www.rfc-editor.org/rfc/rfc7578
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from classifier.contract.errors import ApiError, quoted, shortened
from classifier.contract.limits import MAX_IMAGES, MAX_LABELS
from classifier.contract.request.unknown import unknown
from classifier.contract.request.url_parameters import QUERY_PARAMETERS

ONE_FILE = ("image", "image_data", "file")
SEVERAL_FILES = "images"
# Of each kind as many as a request may have, and some for the other fields.
MAX_PARTS = MAX_LABELS + MAX_IMAGES + 200
CURL = 'curl -F image=@photo.jpg -F labels="a cat" -F labels="a dog"'


@dataclass(frozen=True)
class Form:
    """Image files in the form's order, and its texts by field. `image_field`: the sender's name of
    the only image; None for `images`, whose answer has an entry for each.
    """

    images: Sequence[bytes]
    image_field: str | None
    texts: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class _Part:
    """One field. A field without a file's name holds text."""

    name: str
    filename: str | None
    content: bytes


def read_form(content_type: str, body: bytes) -> Form:
    """Raises ApiError for a form that is malformed or names unknown fields. A field that is empty,
    as browsers send those not filled in, counts as left out.
    """
    parts = [part for part in _parts(content_type, body) if part.content or part.filename]
    names = [*ONE_FILE, SEVERAL_FILES, *QUERY_PARAMETERS]
    texts: dict[str, list[str]] = {}
    files: list[tuple[str, bytes]] = []
    for part in parts:
        if part.name in (*ONE_FILE, SEVERAL_FILES):
            files.append((part.name, _file(part)))
        elif part.name in QUERY_PARAMETERS:
            texts.setdefault(part.name, []).append(_text(part))
        else:
            raise unknown(part.name, names, "form's field")
    fields = [name for name, _ in files]
    if not files:
        message = f"The form has no image; send the file as its field image: {CURL}."
        raise ApiError(400, "invalid_request", message, "image")
    if len(set(fields)) > 1 or (fields[0] != SEVERAL_FILES and len(fields) > 1):
        message = f"The form has {len(fields)} files; send them all as images: -F images=@a.jpg."
        raise ApiError(400, "invalid_request", message, fields[1])
    if len(files) > MAX_IMAGES:
        message = f"images has {len(files)} entries; at most {MAX_IMAGES} are allowed."
        raise ApiError(400, "invalid_request", message, SEVERAL_FILES)
    image_field = None if fields[0] == SEVERAL_FILES else fields[0]
    return Form([file for _, file in files], image_field, texts)


def _parts(content_type: str, body: bytes) -> list[_Part]:
    # Imported late, since few requests are forms.
    from multipart import (
        MultipartError,
        MultipartSegment,
        PushMultipartParser,
        parse_options_header,
    )

    boundary = parse_options_header(content_type)[1].get("boundary")
    if not boundary:
        message = (
            "The header Content-Type lacks the form's boundary; leave the header to your client,"
            " which knows it."
        )
        raise ApiError(400, "invalid_request", message)
    parts: list[_Part] = []
    chunks: list[bytes] = []
    segment: MultipartSegment | None = None
    try:
        with PushMultipartParser(boundary, max_segment_count=MAX_PARTS) as parser:
            for event in parser.parse(body):
                if isinstance(event, MultipartSegment):
                    segment = event
                elif event is not None:
                    chunks.append(bytes(event))
                elif segment:
                    parts.append(_Part(segment.name or "", segment.filename, b"".join(chunks)))
                    chunks.clear()
    except (MultipartError, ValueError) as err:
        message = (
            f"The form can't be read: it is cut off, malformed or has more than {MAX_PARTS:,}"
            f" fields; send it as a client does: {CURL}."
        )
        raise ApiError(400, "invalid_request", message) from err
    return parts


def _file(part: _Part) -> bytes:
    """Raises ApiError for a text that should have been a file."""
    if part.filename is None and b"\0" not in part.content:
        try:
            text = part.content.decode()
        except UnicodeDecodeError:
            return part.content
        message = (
            f"{part.name} holds the text {quoted(text)} and no file; with curl a @ stands before"
            f" the file's name: -F {part.name}=@photo.jpg."
        )
        raise ApiError(400, "invalid_request", message, part.name)
    return part.content


def _text(part: _Part) -> str:
    if part.filename is not None:
        message = f"{part.name} is a file, {quoted(part.filename)}, and must be a text."
        raise ApiError(400, "invalid_request", message, part.name)
    try:
        return part.content.decode()
    except UnicodeDecodeError as err:
        message = f"{shortened(part.name)} is not UTF-8; send texts in UTF-8."
        raise ApiError(400, "invalid_request", message, part.name) from err
