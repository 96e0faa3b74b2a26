"""Bodies and queries to requests, and what to say of a wrong one; no library's wording leaks through."""

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from classifier.errors import ClientError, shown
from classifier.schema import QUERY, QUERY_LISTS, Classify, JsonObject, Parameters, ZeroShot

M = TypeVar("M", bound=BaseModel)
EXAMPLE = '{"image_data": "…", "labels": ["…", "…"]}'


def read_json(body: str | bytes) -> JsonObject:
    """The JSON object of a body. Raises ClientError."""
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
        raise ClientError(400, "invalid_request", f"The body must be a JSON object: {EXAMPLE}.")
    return value


def is_zero_shot(value: JsonObject) -> bool:
    """Whether this is Hugging Face's form."""
    return "inputs" in value or "parameters" in value


def read_request(value: JsonObject) -> Classify:
    """Raises ClientError."""
    if is_zero_shot(value):
        return _validated(ZeroShot, value).classify()
    asked = _validated(Classify, value)
    _one_of(
        asked, ("image_data", "images", "image_embedding"), "is missing; send a picture: image_data, images or image_embedding."
    )
    _check(asked)
    return asked


def read_query(query: Mapping[str, Sequence[str]], image: bytes) -> Classify:
    """The request whose body is the image itself. Raises ClientError."""
    value: JsonObject = {}
    for name, texts in query.items():
        if name not in QUERY:
            raise _unknown(name, QUERY, "query parameter")
        if name in QUERY_LISTS:
            value[name] = list(texts)
        elif len(texts) > 1:
            message = f"The query parameter {name} stands {len(texts)} times; once is meant."
            raise ClientError(400, "invalid_request", message, name)
        else:
            value[name] = texts[0] if name in ("negative_template", "fit") else _number_or_truth(texts[0])
    if "labels" not in value:
        raise ClientError(400, "invalid_request", "labels is missing; add it to the URL: ?labels=a+cat&labels=a+dog.", "labels")
    asked = _validated(Classify, value).model_copy(update={"image_data": image})
    _check(asked)
    return asked


def _check(asked: Classify) -> None:
    """What no field says by itself. Raises ClientError."""
    _one_of(asked, ("labels", "categories"), "is missing; say what to look for: labels or categories.")
    given = asked.model_fields_set
    contradictions = (
        ("combine", asked.categories is None, "belongs to categories; send them, or drop it."),
        (
            "combine",
            asked.multi_label and asked.combine == "sum",
            'must be "max" beside multi_label, where nothing is summed; or drop it.',
        ),
        ("negative_template", not asked.multi_label, "belongs to multi_label; send multi_label: true, or drop it."),
        ("fit", asked.image_embedding is not None, "says how a picture is seen, and image_embedding is none; drop one."),
    )
    for name, wrong, said in contradictions:
        if wrong and name in given:
            raise ClientError(400, "invalid_request", f"{name} {said}", name)


def _one_of(asked: Classify, names: tuple[str, ...], missing: str) -> None:
    given = [name for name in names if getattr(asked, name) is not None]
    if not given:
        raise ClientError(400, "invalid_request", f"{names[0]} {missing}", names[0])
    if len(given) > 1:
        raise ClientError(400, "invalid_request", f"{given[0]} and {given[1]} exclude each other; send one of them.", given[1])


def _number_or_truth(text: str) -> object:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError, ClientError):
        return text


def _no_duplicates(pairs: list[tuple[str, Any]]) -> JsonObject:
    found: JsonObject = {}
    for key, value in pairs:
        if key in found:
            raise ClientError(400, "invalid_json", f"The key {shown(key)} stands twice in one object; once is meant.")
        found[key] = value
    return found


def _no_constant(name: str) -> NoReturn:
    raise ClientError(400, "invalid_json", f"{name} is not JSON; send a number.")


def _validated(model: type[M], value: JsonObject) -> M:
    for name in model.model_fields:
        if name in value and value[name] is None:
            raise ClientError(400, "invalid_request", f"{name} is null; give it a value, or leave it out.", name)
    try:
        return model.model_validate(value)
    except ValidationError as err:
        raise _explained(err.errors(include_url=False)[0], model) from err


def _unknown(name: str, known: Sequence[str], kind: str) -> ClientError:
    near = difflib.get_close_matches(name, known, 1)
    guess = f" Did you mean {near[0]}?" if near else f" Known: {', '.join(known)}."
    return ClientError(400, "invalid_request", f"The {kind} {shown(name)} is unknown.{guess}", shown(name)[1:-1])


def _explained(error: ErrorDetails, model: type[BaseModel]) -> ClientError:
    """One message a kind of error, in our words."""
    path = [shown(str(part))[1:-1] for part in error["loc"] if part != "[key]"]
    kind, context, field = error["type"], error.get("ctx", {}), ".".join(path)
    if kind == "extra_forbidden":
        inside = Parameters if len(path) > 1 else model
        unknown = _unknown(str(error["loc"][-1]), list(inside.model_fields), "field")
        unknown.field = field
        return unknown
    least, most = (context.get(name, context.get(f"{name}_length")) for name in ("min", "max"))
    said = {
        "missing": "is missing.",
        "said": error["msg"],
        "list_type": "must be a list.",
        "dict_type": 'must be an object of lists: {"category": ["prompt", "…"]}.',
        "model_type": "must be an object.",
        "string_type": "must be a string.",
        "bool_type": "must be true or false.",
        "int_type": "must be a whole number.",
        "float_type": "must be a number.",
        "finite_number": "must be a finite number.",
        "literal_error": f"must be one of: {context.get('expected')}.",
        "greater_than_equal": f"must be at least {context.get('ge')}.",
        "less_than_equal": f"must be at most {context.get('le')}.",
        "string_unicode": "holds half of a surrogate pair; send whole characters.",
        "string_too_short": "is empty; say what to look for.",
        "string_too_long": f"is too long; at most {most} characters are taken.",
        "too_short": f"needs at least {least} {'entry' if least == 1 else 'entries'}.",
        "too_long": f"has {context.get('actual_length')} entries; at most {most} are taken.",
    }.get(kind, "is not valid.")
    return ClientError(400, "invalid_request", f"{field} {said}", field)
