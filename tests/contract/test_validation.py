"""Fields as typed clients send them."""

from collections.abc import Callable
from typing import Any

import pytest

from classifier.api.hugging_face import (
    HUGGING_FACE,
    HuggingFaceOptions,
    HuggingFaceParameters,
    HuggingFaceRequest,
)
from classifier.contract.classifiers.file import ClassifierFile, FittedOn, Head, parse_classifier
from classifier.contract.request.parsing import parse_json, parse_options
from classifier.contract.request.schema import ClassifyRequest
from classifier.contract.request.url_parameters import parse_query
from classifier.contract.strict_json import JsonObject
from tests.support.requests import outcome

LABELS: JsonObject = {"labels": ["a dog", "a cat"]}
OWN = {"image_data": "AAAA"} | LABELS
TASK = {"inputs": "AAAA", "parameters": {"candidate_labels": ["a dog", "a cat"]}}
FITTED_ON = {"model": "demo", "fingerprint": "0" * 64, "question": "0" * 64}
LEARNED = LABELS | {"fitted_on": FITTED_ON, "head": {"vectors": "AAAA", "scale": 1}}


def read_task(value: JsonObject) -> Any:
    return HUGGING_FACE.read(value, {})


# How it is read, a good one, and the path of a field in it.
FIELDS: list[tuple[Callable[[JsonObject], Any], JsonObject, str]] = [
    *((parse_json, OWN, name) for name in ClassifyRequest.model_fields),
    *((read_task, TASK, name) for name in HuggingFaceRequest.model_fields),
    *((read_task, TASK, f"parameters.{name}") for name in HuggingFaceParameters.model_fields),
    *((read_task, TASK, f"options.{name}") for name in HuggingFaceOptions.model_fields),
    *((parse_classifier, LEARNED, name) for name in ClassifierFile.model_fields),
    *((parse_classifier, LEARNED, f"fitted_on.{name}") for name in FittedOn.model_fields),
    *((parse_classifier, LEARNED, f"head.{name}") for name in Head.model_fields),
]
REQUIRED = {
    "image_data",
    "labels",
    "inputs",
    "parameters",
    "parameters.candidate_labels",
    "fitted_on",
    *(f"fitted_on.{name}" for name in FittedOn.model_fields),
    "head.vectors",
    "head.scale",
}
# What the message about another type says, by the path of the field.
FORMS = {
    "image_data": "must be a string: the image file in base64",
    "inputs": "must be a string: the image file in base64",
    "images": 'must be a list: ["…", "…"], each an image file',
    "image_s3": 'must be an object: {"key": "…"}',
    "image_embedding": "must be a list: [0.1, -0.2, …]",
    "labels": 'must be a list: ["a dog", "a cat"].',
    "parameters.candidate_labels": 'must be a list: ["a dog", "a cat"].',
    "categories": 'must be an object: {"animals": ["a dog", "a cat"]}',
    "templates": 'must be a list: ["a photo of {}."]',
    "actions": 'must be a list: ["review", "block"]',
    "thresholds": 'must be an object: {"a dog": 0.5}',
    "parameters": 'must be an object: {"candidate_labels": ["a dog", "a cat"]}',
    "options": 'must be an object: {"wait_for_model": true}',
    "fitted_on": 'must be an object: {"model":',
    "head": 'must be an object: {"vectors":',
    "head.learned_from": 'must be a list: ["…"], the sha256 of each image',
    **dict.fromkeys(("combine", "regions_combine", "fit"), "must be one of: '"),
    **dict.fromkeys(("multi_label", "embedding", "details"), "must be true or false"),
    **{f"options.{name}": "must be true or false" for name in HuggingFaceOptions.model_fields},
    **dict.fromkeys(("min_similarity", "min_probability", "head.scale"), "must be a number"),
    **dict.fromkeys(("regions", "top_k"), "must be a whole number"),
}
# By the word that names it in a message.
TYPES: dict[str, Any] = {
    "list": list,
    "object": dict,
    "string": str,
    "one": str,
    "true": bool,
    "whole": int,
    "number": int | float,
}
VALUES: list[Any] = [
    *(True, 7, -0.5, "x", "0.5", [], [7], [None], ["x"], [0.5, 0.5], [["x"]]),
    *({}, {"x": 7}, {"x": "y"}, {"x": ["y"]}, {"x": {"y": 1}}),
]


def with_field(value: JsonObject, path: str, part: object) -> JsonObject:
    name, _, inner = path.partition(".")
    return value | {name: with_field(value.get(name, {}), inner, part) if inner else part}


def without_field(value: JsonObject, path: str) -> JsonObject:
    name, _, inner = path.partition(".")
    if inner:
        return value | {name: without_field(value.get(name, {}), inner)}
    return {key: part for key, part in value.items() if key != name}


@pytest.mark.parametrize(("parse", "value", "path"), FIELDS)
def test_null_is_the_same_as_a_field_that_was_left_out(
    parse: Callable[[JsonObject], Any], value: JsonObject, path: str
) -> None:
    null = outcome(parse, with_field(value, path, None))
    assert null == outcome(parse, without_field(value, path))
    assert isinstance(null, tuple) == (path in REQUIRED), null


def test_null_is_left_out_in_options_for_stored_images_and_in_a_query() -> None:
    null = dict.fromkeys(ClassifyRequest.model_fields)
    assert parse_options(null | LABELS) == parse_options(LABELS)
    query = {"labels": ["a", "b"], "top_k": ["null"], "details": ["null"]}
    assert parse_query(query, b"") == parse_query({"labels": ["a", "b"]}, b"")
    stored = {"image_s3": {"key": "a.jpg", "version": None}, "image_data": None}
    plain = {"image_s3": {"key": "a.jpg"}}
    assert parse_json(LABELS | {"images": [stored]}) == parse_json(LABELS | {"images": [plain]})


@pytest.mark.parametrize("value", VALUES, ids=repr)
@pytest.mark.parametrize(("parse", "good", "path"), FIELDS)
def test_a_wrong_type_gets_a_message_about_this_field_alone(
    parse: Callable[[JsonObject], Any], good: JsonObject, path: str, value: object
) -> None:
    error = outcome(parse, with_field(good, path, value))
    if not isinstance(error, tuple):
        return
    _, _, field, message = error
    form = FORMS.get(path, "must be a string")
    examples = [
        other for other in FORMS.values() if other.startswith(("must be a list", "must be an o"))
    ]
    assert not [other for other in examples if other != form and other in message], error
    name = form.removeprefix("must be ").removeprefix("an ").removeprefix("a ").split()[0]
    kind = TYPES[name.strip(":")]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        assert field == path, error
        assert form in message, error


@pytest.mark.parametrize("value", [7, "a dog", {"x": "y"}, True])
def test_a_category_takes_a_list_of_its_prompts(value: object) -> None:
    error = outcome(parse_json, {"image_data": "AAAA", "categories": {"animals": value}})
    assert error[2:] == (
        "categories.animals",
        'categories.animals must be a list: ["a dog", "a cat"], its prompts.',
    )


@pytest.mark.parametrize("joined", ["a dog, a cat,", "a dog, a cat, ", "a dog,a cat\n,\n"])
def test_hugging_faces_labels_may_end_with_a_comma(joined: str) -> None:
    parsed = read_task({"inputs": "AAAA", "parameters": {"candidate_labels": joined}})
    assert parsed.question.labels == ["a dog", "a cat"]


@pytest.mark.parametrize("name", HuggingFaceOptions.model_fields)
def test_hugging_faces_options_are_taken_and_others_refused_by_name(name: str) -> None:
    plain = read_task(TASK)
    for value in (True, False):
        assert read_task(TASK | {"options": {name: value}}) == plain
    error = outcome(read_task, TASK | {"options": {name: True, "top_k": 1}})
    assert error[2] == "options.top_k"
    assert 'The field "top_k" is unknown' in error[3]
