import base64
import json
import re
import tracemalloc
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifier.contract.base64 import from_base64
from classifier.contract.errors import ApiError
from classifier.contract.request.query import Question
from classifier.contract.request.schema import ClassifyRequest
from tests.support.parsing import (
    GOOD,
    IMAGE,
    changed,
    hugging_face,
    parse,
    read,
    refusal,
)

JSON_LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
)


def json_trees(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)


def test_a_request_is_read() -> None:
    query = read(json.dumps(GOOD))
    assert (query.images, query.several) == ([IMAGE], False)
    assert query.question.labels == ["a dog", "a cat"]


@pytest.mark.parametrize(
    "text",
    [
        base64.b64encode(IMAGE).decode(),
        base64.urlsafe_b64encode(IMAGE).decode(),
        base64.urlsafe_b64encode(IMAGE).decode().rstrip("="),
        base64.encodebytes(IMAGE).decode(),
        "data:image/jpeg;base64," + base64.b64encode(IMAGE).decode(),
        "data:;base64," + base64.b64encode(IMAGE).decode(),
        " DATA:image/png;charset=utf-8;name=фото%20(1).png;BASE64,"
        + base64.urlsafe_b64encode(IMAGE).decode(),
        'data:image/png;name="a, b.png"; base64,' + base64.encodebytes(IMAGE).decode(),
        "data:image/png;name=" + "x" * 5000 + ";base64," + quote(base64.b64encode(IMAGE), safe=""),
    ],
    ids=[
        "standard",
        "url-safe",
        "unpadded",
        "with line ends",
        "data URI",
        "no type",
        "parameters",
        "quoted",
        "percent-encoded",
    ],
)
def test_base64_is_taken_in_its_usual_forms(text: str) -> None:
    assert from_base64(text) == IMAGE


@pytest.mark.parametrize(
    "text", ["a*b=", "abc=def=", "a", "é", "ab==cd", "data:image/png,abcd", "====", 7, None]
)
def test_text_that_is_not_base64_is_refused(text: object) -> None:
    assert refusal(changed(image_data=text)).field == "image_data"


@pytest.mark.parametrize(
    ("body", "code", "expected"),
    [
        ("", "invalid_json", "not JSON"),
        ("{", "invalid_json", "line 1"),
        (b'{"a": "\xff"}', "invalid_json", "UTF-8"),
        ("[" * 100_000, "invalid_json", "deep"),
        ('{"labels": NaN}', "invalid_json", "NaN"),
        ('{"labels": 1' + "0" * 5000 + "}", "invalid_json", "too long"),
        ('{"labels": ["a"], "labels": ["b"]}', "invalid_json", "labels"),
        ("[]", "invalid_request", "object"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_body_that_is_no_json_object_is_refused(
    body: str | bytes, code: str, expected: str
) -> None:
    error = refusal(body)
    assert (error.status, error.code, error.field) == (400, code, None)
    assert expected in error.message


@pytest.mark.parametrize(
    "fields",
    [
        {"labels": ["yes, it is", "no"]},
        {"labels": ["a, b"], "multi_label": True},
        {"labels": ["a, b"], "embedding": True},
    ],
)
def test_a_comma_is_normal_if_it_can_be_no_list(fields: dict[str, Any]) -> None:
    assert read(json.dumps({"image_data": "AAAA"} | fields)).question.labels == fields["labels"]


@pytest.mark.parametrize(
    "value",
    [
        {"labels": ["a"], "image_embedding": [""] * 1_000_000},
        {"labels": [""] * 1_000_000},
        {"labels": ["a"], "images": [7] * 1_000_000},
        {"image_data": "AAAA", "categories": dict.fromkeys(map(str, range(300_000)), 7)},
        {"image_data": "AAAA", "categories": {str(i): [7] * 1000 for i in range(1000)}},
        {"image_data": "AAAA", "labels": ["a"], "templates": [7] * 1_000_000},
        dict.fromkeys(map(str, range(300_000))),
        {"inputs": "AAAA", "parameters": dict.fromkeys(map(str, range(300_000)))},
        {"inputs": "AAAA", "parameters": {"candidate_labels": "a," * 1_000_000}},
        {"k" * 5_900_000: 1},
        {"image_data": "AAAA", "categories": {"n" * 1_500_000: [f"p{i}" for i in range(500)]}},
    ],
    ids=[
        "embedding",
        "labels",
        "images",
        "names",
        "prompts",
        "templates",
        "keys",
        "parameters",
        "joined labels",
        "a long key",
        "a long name",
    ],
)
def test_a_million_wrong_parts_cost_no_more_than_one(value: Any) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ApiError) as caught:
            parse(value)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 50_000_000
    assert len(json.dumps(caught.value.body())) < 2000


def test_a_whole_number_may_be_written_with_a_point() -> None:
    assert read(changed(top_k=3.0)).top_k == 3


def test_hugging_faces_form_becomes_an_ordinary_request_with_its_own_field_names() -> None:
    query = read(hugging_face(candidate_labels=["dog", "cat"]))
    question = Question(["dog", "cat"], templates=["This is a photo of {}."])
    assert (query.images, query.question) == ([IMAGE], question)
    assert query.path("labels", 1) == "parameters.candidate_labels.1"
    assert query.image_path(0) == "inputs"
    other = read(hugging_face(candidate_labels=["dog"], hypothesis_template="{}!"))
    assert other.question.templates == ["{}!"]


@given(
    st.dictionaries(
        st.sampled_from(list(ClassifyRequest.model_fields)),
        st.recursive(JSON_LEAVES, json_trees, max_leaves=4),
        max_size=4,
    )
)
def test_every_wrong_value_gets_our_own_message_and_its_field(value: dict[str, Any]) -> None:
    try:
        parse(value)
    except ApiError as err:
        assert (err.status, err.code) == (400, "invalid_request")
        assert err.field
        assert not re.search(r"pydantic|validat|Input should|is not valid|Value error", err.message)


@pytest.mark.parametrize(("regions", "most"), [(2, 40), (3, 20), (4, 11)])
def test_images_and_their_regions_are_two_hundred_at_most(regions: int, most: int) -> None:
    fields = {"labels": ["a", "b"], "regions": regions}
    assert read(json.dumps(fields | {"images": ["AAAA"] * most})).regions == regions
    error = refusal(json.dumps(fields | {"images": ["AAAA"] * (most + 1)}))
    assert (error.status, error.code, error.field) == (400, "invalid_request", "regions")
    assert f"at most {most} images" in error.message


def test_an_embedding_has_no_regions() -> None:
    error = refusal(json.dumps({"image_embedding": [1.0], "labels": ["a", "b"], "regions": 2}))
    assert (error.status, error.field) == (400, "regions")
    assert "image_embedding has none" in error.message
