import base64
import json
import re
import tracemalloc
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifier.api.body import read_json
from classifier.api.dialects import dialect_of_body
from classifier.contract.base64 import from_base64
from classifier.contract.errors import ApiError
from classifier.contract.request.query import Query, Question
from classifier.contract.request.schema import ClassifyRequest
from classifier.contract.request.url_parameters import parse_query

IMAGE = bytes(range(256)) + b"\xfb\xff"
JSON_LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
)


def json_trees(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)


GOOD = {"image_data": base64.b64encode(IMAGE).decode(), "labels": ["a dog", "a cat"]}


def read(body: str | bytes) -> Query:
    return parse(read_json(body))


def parse(value: dict[str, Any]) -> Query:
    return dialect_of_body(value).read(value, {})


def refusal(body: str | bytes) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read(body)
    return caught.value


def changed(**fields: Any) -> str:
    return json.dumps(GOOD | fields)


def categories(value: Any, **fields: Any) -> str:
    return json.dumps({"image_data": GOOD["image_data"], "categories": value} | fields)


def hugging_face(**parameters: Any) -> str:
    return json.dumps({"inputs": GOOD["image_data"], "parameters": parameters})


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
    ("body", "code", "field", "expected"),
    [
        ("", "invalid_json", None, "not JSON"),
        ("{", "invalid_json", None, "line 1"),
        (b'{"a": "\xff"}', "invalid_json", None, "UTF-8"),
        ("[" * 100_000, "invalid_json", None, "deep"),
        ('{"labels": NaN}', "invalid_json", None, "NaN"),
        ('{"labels": 1' + "0" * 5000 + "}", "invalid_json", None, "too long"),
        ('{"labels": ["a"], "labels": ["b"]}', "invalid_json", None, "labels"),
        ("[]", "invalid_request", None, "object"),
        ('{"labels": ["a"]}', "invalid_request", "image_data", "missing"),
        (json.dumps({"image_data": ""}), "invalid_request", "labels", "missing"),
        (changed(label=["a"]), "invalid_request", "label", "Did you mean labels?"),
        (changed(zzz=1), "invalid_request", "zzz", "Known: image_data, images,"),
        (changed(topk=1), "invalid_request", "topk", "Did you mean top_k?"),
        (changed(image="AAAA"), "invalid_request", "image", "Did you mean image_data?"),
        (
            changed(image_url="https://example.org"),
            "invalid_request",
            "image_url",
            "Nothing is fetched from the web",
        ),
        (changed(imageURL="https://example.org"), "invalid_request", "imageURL", "image_data"),
        (
            changed(candidate_labels=["a"]),
            "invalid_request",
            "candidate_labels",
            "Did you mean labels?",
        ),
        (
            changed(image_data="https://example.org/a.jpg"),
            "invalid_request",
            "image_data",
            "Addresses are not fetched",
        ),
        (
            changed(labels=["a dog, a cat"]),
            "invalid_request",
            "labels",
            "?labels=a+dog&labels=a+cat",
        ),
        (
            changed(labels=['["a dog","a cat"]']),
            "invalid_request",
            "labels",
            '"labels": ["a dog", "a cat"]',
        ),
        (changed(labels=["狗，猫"], details=True), "invalid_request", "labels", "comma"),
        (changed(labels=["a", "caf\ufffd"]), "invalid_request", "labels.1", "send UTF-8"),
        (changed(templates=["\ufffd {}"]), "invalid_request", "templates.0", "send UTF-8"),
        (
            categories({"n" * 1001: ["a"]}),
            "invalid_request",
            "categories." + "n" * 57 + "…",
            "at most 1000 characters",
        ),
        (
            '{"labels": ["a"], "image_embedding": [' + "1," * 5000 + "1]}",
            "invalid_request",
            "image_embedding",
            "at most 4096",
        ),
        (changed(images=[]), "invalid_request", "images", "at least 1"),
        (json.dumps({"images": [7], "labels": ["a"]}), "invalid_request", "images.0", "string"),
        (
            json.dumps({"images": ["a"] * 65, "labels": ["a"]}),
            "invalid_request",
            "images",
            "at most 64",
        ),
        (changed(images=["a"]), "invalid_request", "images", "exclude each other"),
        (
            changed(image_embedding=[1.0]),
            "invalid_request",
            "image_embedding",
            "exclude each other",
        ),
        (
            json.dumps({"labels": ["a"]}),
            "invalid_request",
            "image_data",
            "image_data, images or image_embedding",
        ),
        (
            '{"labels": ["a"], "image_embedding": [1e999]}',
            "invalid_request",
            "image_embedding.0",
            "finite",
        ),
        (
            '{"labels": ["a"], "image_embedding": [true]}',
            "invalid_request",
            "image_embedding.0",
            "number",
        ),
        (
            '{"labels": ["a"], "image_embedding": [1], "fit": "pad"}',
            "invalid_request",
            "fit",
            "image_embedding has none",
        ),
        (changed(categories={"a": ["b"]}), "invalid_request", "categories", "exclude each other"),
        (categories(["a"]), "invalid_request", "categories", "must be an object"),
        (categories({}), "invalid_request", "categories", "at least 1"),
        (categories({"a": []}), "invalid_request", "categories.a", "at least 1"),
        (categories({"a": ["b", 7]}), "invalid_request", "categories.a.1", "string"),
        (categories({"a": "b"}), "invalid_request", "categories.a", "list"),
        (categories({"": ["b"]}), "invalid_request", "categories.", "empty"),
        (categories({"a": ["b"]}, combine="mean"), "invalid_request", "combine", "'sum' or 'max'"),
        (
            categories({"a": ["b"]}, combine="sum", multi_label=True),
            "invalid_request",
            "combine",
            'must be "max"',
        ),
        (changed(combine="max"), "invalid_request", "combine", "needs categories"),
        (changed(templates=[]), "invalid_request", "templates", "at least 1"),
        (changed(templates=["a photo"]), "invalid_request", "templates.0", "exactly one {}"),
        (
            changed(templates=["{}", "{} and {}"]),
            "invalid_request",
            "templates.1",
            "exactly one {}",
        ),
        (changed(templates=["{}", "{}"]), "invalid_request", "templates", "twice"),
        (
            changed(templates=["{}" + "x" * 1000]),
            "invalid_request",
            "templates.0",
            "at most 1000 characters",
        ),
        (
            changed(templates=[f"{i} {{}}" for i in range(101)]),
            "invalid_request",
            "templates",
            "at most 100",
        ),
        (changed(multi_label="true"), "invalid_request", "multi_label", "true or false"),
        (
            changed(negative_template="no {}"),
            "invalid_request",
            "negative_template",
            "needs multi_label",
        ),
        (
            changed(negative_template="{} {}", multi_label=True),
            "invalid_request",
            "negative_template",
            "use it at most once",
        ),
        (
            changed(negative_template="", multi_label=True),
            "invalid_request",
            "negative_template",
            "empty",
        ),
        (changed(fit="zoom"), "invalid_request", "fit", "'crop', 'pad', 'squash' or 'tiles'"),
        (changed(regions=1), "invalid_request", "regions", "at least 2"),
        (changed(regions=5), "invalid_request", "regions", "at most 4"),
        (changed(regions=2.5), "invalid_request", "regions", "whole number"),
        (changed(regions="2"), "invalid_request", "regions", "whole number"),
        (changed(regions=2, fit="tiles"), "invalid_request", "regions", "two ways to cut"),
        (
            changed(regions=2, regions_combine="best"),
            "invalid_request",
            "regions_combine",
            "'whole' or 'max'",
        ),
        (
            changed(regions=2, regions_combine="max"),
            "invalid_request",
            "regions_combine",
            'must be "whole" without multi_label',
        ),
        (changed(regions_combine="whole"), "invalid_request", "regions_combine", "needs regions"),
        (changed(min_probability=1.5), "invalid_request", "min_probability", "at most 1"),
        (changed(min_probability=-0.5), "invalid_request", "min_probability", "at least 0"),
        (changed(min_probability="0.5"), "invalid_request", "min_probability", "number"),
        (changed(top_k=0), "invalid_request", "top_k", "at least 1"),
        (changed(top_k=1.5), "invalid_request", "top_k", "whole number"),
        (changed(top_k=True), "invalid_request", "top_k", "whole number"),
        (changed(embedding=1), "invalid_request", "embedding", "true or false"),
        (changed(details="yes"), "invalid_request", "details", "true or false"),
        (hugging_face(), "invalid_request", "parameters.candidate_labels", "missing"),
        (
            hugging_face(candidate_labels=["a", 1]),
            "invalid_request",
            "parameters.candidate_labels.1",
            "string",
        ),
        (
            hugging_face(candidate_labels=["a"], hypothesis_template="x"),
            "invalid_request",
            "parameters.hypothesis_template",
            "exactly one",
        ),
        (
            hugging_face(candidate_labels=["a"], top_k=1),
            "invalid_request",
            "parameters.top_k",
            "unknown",
        ),
        (
            json.dumps({"inputs": "*", "parameters": {"candidate_labels": ["a"]}}),
            "invalid_request",
            "inputs",
            "not base64",
        ),
        (
            json.dumps({"parameters": {"candidate_labels": ["a"]}}),
            "invalid_request",
            "inputs",
            "missing",
        ),
        (json.dumps({"inputs": "", "parameters": 7}), "invalid_request", "parameters", "object"),
        (changed(labels="a"), "invalid_request", "labels", "list"),
        (changed(labels=[]), "invalid_request", "labels", "at least 1"),
        (changed(labels=["a", 1]), "invalid_request", "labels.1", "string"),
        (changed(labels=["a", ""]), "invalid_request", "labels.1", "empty"),
        (changed(labels=["\ud800"]), "invalid_request", "labels.0", "surrogate"),
        (
            changed(labels=[str(i) for i in range(1001)]),
            "invalid_request",
            "labels",
            "at most 1000",
        ),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_wrong_request_is_refused_with_its_field(
    body: str | bytes, code: str, field: str | None, expected: str
) -> None:
    error = refusal(body)
    assert (error.status, error.code, error.field) == (400, code, field)
    assert expected in error.message


@pytest.mark.parametrize(
    "fields",
    [
        {"labels": ["yes, it is", "no"]},
        {"labels": ["a, b"], "multi_label": True},
        {"labels": ["a, b"], "embedding": True},
    ],
)
def test_a_comma_is_normal_where_it_can_be_no_list(fields: dict[str, Any]) -> None:
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
