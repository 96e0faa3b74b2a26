"""An image's fields in the URL."""

import json

import pytest

from classifier.contract.errors import ApiError
from classifier.contract.request.url_parameters import parse_query
from tests.support.parsing import GOOD, IMAGE, read


def test_a_query_is_read_like_the_same_fields_in_json() -> None:
    query = {
        "labels": ["a dog", "7"],
        "templates": ["{}!"],
        "multi_label": ["True"],
        "negative_template": ["5"],
        "fit": ["pad"],
        "min_probability": ["0.25"],
        "top_k": ["3"],
        "embedding": ["false"],
        "details": ["true"],
    }
    request = parse_query(query, IMAGE)
    body = {
        "image_data": GOOD["image_data"],
        "labels": ["a dog", "7"],
        "templates": ["{}!"],
        "multi_label": True,
        "negative_template": "5",
        "fit": "pad",
        "min_probability": 0.25,
        "top_k": 3,
        "embedding": False,
        "details": True,
    }
    assert request == read(json.dumps(body))


@pytest.mark.parametrize(
    ("query", "field", "expected"),
    [
        ({}, "labels", "?labels=a+cat&labels=a+dog"),
        ({"labels": [""]}, "labels.0", "empty"),
        ({"labels": ["a"], "label": ["b"]}, "label", "Did you mean labels?"),
        ({"labels": ["a"], "categories": ["b"]}, "categories", "unknown"),
        ({"labels": ["a"], "top_k": ["1", "2"]}, "top_k", "was sent 2 times"),
        ({"labels": ["a"], "top_k": ["one"]}, "top_k", "whole number"),
        ({"labels": ["a"], "multi_label": ["1"]}, "multi_label", "true or false"),
        ({"labels": ["a"], "min_probability": ["NaN"]}, "min_probability", "number"),
        ({"labels": ["a"], "min_probability": ["[" * 100_000]}, "min_probability", "number"),
        ({"labels": ["a"], "negative_template": ["no {}"]}, "negative_template", "multi_label"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_wrong_query_is_refused_by_name(
    query: dict[str, list[str]], field: str, expected: str
) -> None:
    with pytest.raises(ApiError) as caught:
        parse_query(query, IMAGE)
    assert (caught.value.status, caught.value.code, caught.value.field) == (
        400,
        "invalid_request",
        field,
    )
    assert expected in caught.value.message
