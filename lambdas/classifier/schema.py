"""The requests: their fields, their limits, and what to say of a wrong one."""

import binascii
import difflib
import json
import re
from typing import Annotated, Any, NoReturn

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, StringConstraints, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from classifier.errors import ClientError

MOST_LABELS = 1000
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_DATA_URI = re.compile(r"\s*data:[\w/.+-]*(;[\w=.+-]+)*;base64,", re.ASCII | re.IGNORECASE)


def from_base64(value: object) -> bytes:
    """Standard or URL-safe base64, padded or not, white space and a data: prefix taken away; anything else is refused."""
    if not isinstance(value, str):
        raise PydanticCustomError("base64", "must be a string: the image file in base64.")
    prefix = _DATA_URI.match(value[:200])
    try:
        encoded = value[prefix.end() if prefix else 0 :].encode("ascii").translate(_URL_SAFE, b" \t\r\n\f\v")
        if b"=" not in encoded[-2:]:
            encoded += b"=" * (-len(encoded) % 4)
        return binascii.a2b_base64(encoded, strict_mode=True)
    except ValueError as err:
        raise PydanticCustomError(
            "base64", "is not base64; encode the image file's bytes, for instance with: base64 -w0 FILE."
        ) from err


class Classify(BaseModel):
    """One image, and labels of which one is meant to hold."""

    model_config = ConfigDict(extra="forbid", strict=True)

    image_data: Annotated[bytes, PlainValidator(from_base64)]
    labels: Annotated[list[Annotated[str, StringConstraints(min_length=1)]], Field(min_length=1, max_length=MOST_LABELS)]


def read_request(body: str | bytes) -> Classify:
    """Raises ClientError."""
    try:
        value = json.loads(body, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except RecursionError as err:
        raise ClientError(400, "invalid_json", "The body is nested too deep; send a flat object.") from err
    except UnicodeDecodeError as err:
        raise ClientError(400, "invalid_json", "The body is not UTF-8; send JSON in UTF-8.") from err
    except json.JSONDecodeError as err:
        message = f"The body is not JSON from line {err.lineno}, column {err.colno} on; send a JSON object."
        raise ClientError(400, "invalid_json", message) from err
    except ValueError as err:
        raise ClientError(400, "invalid_json", "The body holds a number that is too long to read.") from err
    if not isinstance(value, dict):
        raise ClientError(400, "invalid_request", 'The body must be a JSON object: {"image_data": "…", "labels": ["…", "…"]}.')
    try:
        return Classify.model_validate(value)
    except ValidationError as err:
        raise _explained(err.errors(include_url=False)[0]) from err


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ClientError(400, "invalid_json", f"The key {shown(key)} stands twice in one object; once is meant.")
        found[key] = value
    return found


def _no_constant(name: str) -> NoReturn:
    raise ClientError(400, "invalid_json", f"{name} is not JSON; send a number.")


def shown(text: str) -> str:
    """A text of the caller's in quotes, cut to what a message can hold."""
    return json.dumps(text if len(text) <= 60 else text[:57] + "…", ensure_ascii=False)


def _explained(error: ErrorDetails) -> ClientError:
    """One message a kind of error, in our words."""
    path = [str(part) for part in error["loc"]]
    kind, context, name = error["type"], error.get("ctx", {}), path[-1]
    field, known = ".".join(path), list(Classify.model_fields)
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(name, known, 1)
        guess = f" Did you mean {near[0]}?" if near else f" Known fields: {', '.join(known)}."
        return ClientError(400, "invalid_request", f"The field {shown(name)} is unknown.{guess}", shown(name)[1:-1])
    said = {
        "missing": "is missing.",
        "base64": error["msg"],
        "list_type": "must be a list of strings.",
        "string_type": "must be a string.",
        "string_unicode": "holds half of a surrogate pair; send whole characters.",
        "string_too_short": "is empty; say what to look for.",
        "too_short": f"needs at least {context.get('min_length')} entry.",
        "too_long": f"has {context.get('actual_length')} entries; at most {context.get('max_length')} are taken.",
    }.get(kind, "is not valid.")
    return ClientError(400, "invalid_request", f"{field} {said}", field)
