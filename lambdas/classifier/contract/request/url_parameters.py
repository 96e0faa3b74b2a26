"""A request whose question comes as texts, in the URL or in a form."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from classifier.contract.errors import ApiError
from classifier.contract.request.fields import encoded_twice
from classifier.contract.request.parsing import check_combinations, make_query
from classifier.contract.request.query import Query
from classifier.contract.request.schema import ClassifyRequest
from classifier.contract.request.unknown import unknown
from classifier.contract.request.validation import validate
from classifier.contract.strict_json import JsonObject, no_constant

# The parameters that the URL may hold if the body is an image or a form. Lists are repeated
# parameters.
QUERY_LISTS = ("labels", "templates")
QUERY_TEXTS = ("classifier", "negative_template", "fit", "regions_combine")
QUERY_PARAMETERS = (
    *QUERY_LISTS,
    *QUERY_TEXTS,
    "multi_label",
    "regions",
    "min_probability",
    "top_k",
    "embedding",
    "details",
)


def parse_query(query: Mapping[str, Sequence[str]], image: bytes) -> Query:
    """A request whose body is the image itself. Raises ApiError."""
    for name in QUERY_LISTS:
        _check_plus(name, query.get(name, ()))
    labels = (
        "add it to the URL: ?labels=a+cat&labels=a+dog, or name a classifier: ?classifier=NAME."
    )
    request = _read_texts(query, "query parameter", labels)
    check_combinations(request, 1)
    return make_query(request, [image])


def parse_form(
    texts: Mapping[str, Sequence[str]], images: Sequence[bytes], image_field: str | None
) -> Query:
    """A request whose body is a form. `image_field`: the sender's name of the only image; None for
    several. Raises ApiError.
    """
    labels = 'add it to the form: -F labels="a cat" -F labels="a dog", or -F classifier=NAME.'
    request = _read_texts(texts, "form's field", labels)
    check_combinations(request, len(images))
    field_names = {"image_data": image_field} if image_field else {}
    return replace(make_query(request, images, field_names), several=image_field is None)


def _read_texts(
    texts: Mapping[str, Sequence[str]], kind: str, how_to_send_labels: str
) -> ClassifyRequest:
    value: JsonObject = {}
    for name, sent in texts.items():
        if name not in QUERY_PARAMETERS:
            raise unknown(name, QUERY_PARAMETERS, kind)
        if name in QUERY_LISTS:
            value[name] = list(sent)
        elif len(sent) > 1:
            message = f"The {kind} {name} was sent {len(sent)} times; send it once."
            raise ApiError(400, "invalid_request", message, name)
        else:
            value[name] = sent[0] if name in QUERY_TEXTS else _number_or_boolean(sent[0])
    if "labels" not in value and "classifier" not in value:
        message = f"labels is missing; {how_to_send_labels}"
        raise ApiError(400, "invalid_request", message, "labels")
    return validate(ClassifyRequest, value)


def _check_plus(name: str, texts: Sequence[str]) -> None:
    """Raises ApiError for a text with a + for each space: the query was encoded twice."""
    for i, text in enumerate(texts):
        if (
            "+" in text
            and " " not in text
            and any(map(_joins_letters, zip(text, text[1:], text[2:], strict=False)))
        ):
            message = encoded_twice(text, text.replace("+", " "))
            raise ApiError(
                400,
                "invalid_request",
                f"{name}.{i} {message} In JSON a + stands for itself.",
                f"{name}.{i}",
            )


def _joins_letters(characters: tuple[str, str, str]) -> bool:
    """Whether the middle one is a + between two letters. Marks are letters of the Indic scripts."""
    # A table of a megabyte, for the few texts that hold a plus.
    import unicodedata

    before, middle, after = characters
    return (
        middle == "+"
        and unicodedata.category(before)[0] in "LM"
        and unicodedata.category(after)[0] in "LM"
    )


def _number_or_boolean(text: str) -> object:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return json.loads(text, parse_constant=no_constant)
    except (ValueError, RecursionError, ApiError):
        return text
