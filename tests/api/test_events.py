import base64
import copy
import json
from typing import Any

import pytest

from classifier.api.events import kind_of
from classifier.api.handler import Handler
from tests.support.events import (
    BALANCER,
    BALANCER_MULTI,
    HTTP,
    HTTP_EVENTS,
    IMAGE,
    LABELS,
    QUESTION,
    REST,
)
from tests.support.requests import Context

WRONG: tuple[Any, ...] = (
    None,
    [],
    {},
    "",
    "text",
    7,
    1.5,
    True,
    [None],
    ["a", 1],
    {"a": None},
    {"a": [None]},
    {"labels": {"a": 1}},
)


def test_every_kind_of_event_gets_the_same_answer(handler: Handler) -> None:
    answers = {
        name: handler(copy.deepcopy(event), Context()) for name, event in HTTP_EVENTS.items()
    }
    assert {answer["statusCode"] for answer in answers.values()} == {200}
    expected = handler(dict(QUESTION), Context())
    assert list(expected["result"]) == LABELS
    for answer in answers.values():
        assert json.loads(answer["body"]) == expected


def test_a_load_balancer_with_multi_value_headers_gets_them_back(handler: Handler) -> None:
    answer = handler(BALANCER_MULTI, Context())
    assert answer["multiValueHeaders"]["Content-Type"] == ["application/json"]
    assert "multiValueHeaders" not in handler(BALANCER, Context())


def test_a_direct_invocation_is_refused_as_an_object_with_its_status(handler: Handler) -> None:
    events: tuple[Any, ...] = ({}, [], None, 7, "text", {"labels": ["a"]})
    for event in events:
        answer = handler(event, Context())
        assert (answer["statusCode"], answer["code"]) == (400, "invalid_request")


@pytest.mark.parametrize("depth", [500, 900, 990, 5_000, 100_000])
def test_a_deeply_nested_event_is_refused(handler: Handler, depth: int) -> None:
    event: Any = {}
    for _ in range(depth):
        event = {"labels": event}
    assert handler(event, Context())["statusCode"] == 400


@pytest.mark.parametrize(
    ("event", "query"),
    [
        (
            REST
            | {
                "queryStringParameters": {"a": "1", "b": None},
                "multiValueQueryStringParameters": None,
            },
            {"a": ["1"]},
        ),
        (
            REST | {"multiValueQueryStringParameters": {"a": ["1", None, "2"], "b": None, "c": []}},
            {"a": ["1", "2"]},
        ),
        (BALANCER | {"queryStringParameters": {"a%20b": "1%2C2"}}, {"a b": ["1,2"]}),
        (
            BALANCER_MULTI | {"multiValueQueryStringParameters": {"a": ["1+2", "%FF"]}},
            {"a": ["1 2", "\ufffd"]},
        ),
        (HTTP | {"rawQueryString": "a=1&a=2;b=3&c"}, {"a": ["1", "2;b=3"], "c": [""]}),
        (HTTP | {"rawQueryString": None}, {}),
    ],
    ids=["null", "null among several", "encoded", "not UTF-8", "raw", "no raw"],
)
def test_a_query_is_read_without_what_is_missing(
    event: dict[str, Any], query: dict[str, list[str]]
) -> None:
    assert kind_of(event).read().query == query


def test_headers_that_are_no_text_count_as_missing() -> None:
    event = REST | {
        "headers": {"Content-Type": None, "X-A": 1, "X-B": "b"},
        "multiValueHeaders": {"X-C": [], "X-D": ["1", "2"]},
    }
    assert kind_of(event).read().headers == {"x-b": "b", "x-d": "2"}


@pytest.mark.parametrize("stage", ["prod", None, ["prod"], {"a": 1}])
def test_a_stage_is_part_of_an_http_apis_path(stage: object) -> None:
    event = copy.deepcopy(HTTP)
    event["requestContext"]["stage"] = stage
    assert kind_of(event).read().path == ("/" if stage == "prod" else "/prod/")


@pytest.mark.parametrize("name", HTTP_EVENTS)
def test_any_wrong_field_of_an_event_is_the_callers_and_harms_nothing(
    handler: Handler, name: str
) -> None:
    good = handler(copy.deepcopy(HTTP_EVENTS[name]), Context())
    for field in HTTP_EVENTS[name]:
        for value in WRONG:
            answer = handler(copy.deepcopy(HTTP_EVENTS[name]) | {field: value}, Context())
            status = answer["statusCode"]
            assert status in (200, 204) or 400 <= status < 500, (field, value, answer)
    for field in HTTP_EVENTS[name]["requestContext"]:
        for value in WRONG:
            event = copy.deepcopy(HTTP_EVENTS[name])
            event["requestContext"][field] = value
            assert handler(event, Context())["statusCode"] < 500
    assert handler(copy.deepcopy(HTTP_EVENTS[name]), Context())["body"] == good["body"]


def test_a_body_that_is_not_the_base64_it_says_is_refused(handler: Handler) -> None:
    for body in ("*", "abc", "é", base64.b64encode(IMAGE).decode() + "\n="):
        assert handler(BALANCER_MULTI | {"body": body}, Context())["statusCode"] == 400
