import re
import time
import tomllib
from typing import Any

import numpy as np
import pytest

from classifier.api.handler import Handler
from classifier.model.encoders import Encoders
from tests.support.golden import golden_demo
from tests.support.images import encoded, soft_image
from tests.support.requests import (
    LABELS,
    ROOT,
    SMALL,
    Context,
    ask,
    classify_event,
    event,
)

IMAGES = ROOT / "examples" / "images"


def test_probabilities_come_in_the_order_of_the_labels_and_sum_to_1(handler: Handler) -> None:
    status, body, headers = ask(handler, classify_event(SMALL, LABELS))
    assert (status, list(body), list(body["result"])) == (200, ["result"], LABELS)
    assert abs(sum(body["result"].values()) - 1) < 1e-9
    assert headers["Content-Type"] == "application/json"
    assert headers["X-Model"] == "demo"
    assert [part.partition(";")[0] for part in headers["Server-Timing"].split(", ")] == [
        "decode",
        "image",
        "text",
    ]
    assert headers["Access-Control-Expose-Headers"] == "Server-Timing, X-Model, X-Version"


@pytest.mark.parametrize("file", sorted(golden_demo()["images"]))
def test_answers_agree_with_open_clip(handler: Handler, file: str) -> None:
    expected = golden_demo()["images"][file]["result"]
    result = ask(handler, classify_event((IMAGES / file).read_bytes(), list(expected)))[1]["result"]
    assert max(result, key=result.__getitem__) == max(expected, key=expected.__getitem__)
    np.testing.assert_allclose(list(result.values()), list(expected.values()), atol=0.02)


def test_a_single_label_gets_probability_1(handler: Handler) -> None:
    assert ask(handler, classify_event(SMALL, ["anything"]))[1] == {"result": {"anything": 1.0}}


def test_the_same_request_gets_the_same_bytes_whatever_came_before(encoders: Encoders) -> None:
    fresh = Handler(encoders)
    used = Handler(encoders)
    ask(used, classify_event(SMALL, ["neutral", "something else entirely", "just chatting"]))
    ask(used, classify_event(encoded(soft_image(99, 44)), ["game streamer"]))
    first, second = (h(classify_event(SMALL, LABELS), Context())["body"] for h in (fresh, used))
    assert first == second == used(classify_event(SMALL, LABELS), Context())["body"]


def test_labels_of_any_script_come_back_as_they_were_sent(handler: Handler) -> None:
    labels = ["собака", "一只狗", "🐶 dog", 'quo"te\\']
    assert list(ask(handler, classify_event(SMALL, labels))[1]["result"]) == labels


def test_a_thousand_labels_are_answered(handler: Handler) -> None:
    labels = [f"thing number {i}" for i in range(1000)]
    assert list(ask(handler, classify_event(SMALL, labels))[1]["result"]) == labels


@pytest.mark.parametrize(
    ("request_event", "status", "code", "field"),
    [
        (event(None), 400, "invalid_json", None),
        (event({"labels": LABELS}), 400, "invalid_request", "image_data"),
        (event({"image_data": "", "labels": LABELS}), 400, "invalid_image", "image_data"),
        (classify_event(b"text", LABELS), 415, "unsupported_media_type", "image_data"),
        (classify_event(SMALL[:300], LABELS), 400, "invalid_image", "image_data"),
        (classify_event(SMALL, ["Cat", "dog", "cat "]), 400, "invalid_request", "labels.2"),
        (classify_event(SMALL, ["dog " * 80]), 400, "label_too_long", "labels.0"),
        (event({"image_data": "", "labels": LABELS, "topk": 1}), 400, "invalid_request", "topk"),
        (
            event("{}", headers={"content-type": "application/x-www-form-urlencoded"}),
            415,
            "unsupported_media_type",
            None,
        ),
        (
            event("{}", multiValueQueryStringParameters={"labels": ["a"]}),
            400,
            "invalid_request",
            None,
        ),
        (event(None, resource="/nowhere"), 404, "not_found", None),
        (event(None, method="DELETE"), 405, "not_found", None),
    ],
    ids=[
        "no body",
        "no image",
        "empty image",
        "not an image",
        "cut image",
        "same labels",
        "long label",
        "misspelt option",
        "form",
        "query",
        "path",
        "method",
    ],
)
def test_a_wrong_request_is_refused_and_the_next_is_served(
    handler: Handler, request_event: dict[str, Any], status: int, code: str, field: str | None
) -> None:
    result, body, headers = ask(handler, request_event)
    assert (result, body["code"], body.get("field")) == (status, code, field)
    assert set(body) <= {"message", "code", "field"}
    assert headers["X-Model"] == "demo"
    assert ("Allow" in headers) == (status == 405)
    assert ask(handler, classify_event(SMALL, LABELS))[0] == 200


def test_the_playground_is_a_page_that_fetches_nothing_from_elsewhere(handler: Handler) -> None:
    answer = handler(event(None, method="GET"), Context())
    assert (answer["statusCode"], answer["headers"]["Content-Type"]) == (
        200,
        "text/html; charset=utf-8",
    )
    assert "<form" in answer["body"]
    # The name of SVG's namespace is no address.
    assert set(re.findall(r"\w+://[^\"\s]*", answer["body"])) <= {"http://www.w3.org/2000/svg"}


def test_preflight_lets_the_key_json_and_openais_headers_through(handler: Handler) -> None:
    status, _, headers = ask(handler, event(None, method="OPTIONS"))
    assert status == 204
    allowed = headers["Access-Control-Allow-Headers"].split(", ")
    assert {"Authorization", "Content-Type", "X-Api-Key", "X-Stainless-Timeout"} <= set(allowed)
    assert headers["Access-Control-Allow-Methods"] == "GET, POST, OPTIONS"


def test_health_names_model_and_version_and_is_never_stored(handler: Handler) -> None:
    status, body, headers = ask(handler, event(None, "GET", "/health"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    known = {"model": "demo", "version": project["version"], "languages": None}
    assert (status, body) == (200, {"status": "ok", **known})
    assert headers["Cache-Control"] == "no-store"


def test_a_get_with_an_image_says_how_to_send_it(handler: Handler) -> None:
    status, body, _ = ask(handler, event("\ufffdPNG", "GET"))
    assert (status, body["code"]) == (400, "invalid_request")
    assert "send it with POST" in body["message"]


@pytest.mark.parametrize("path", ["/classifiers/", "/v1/models/", "/openapi.json/", "/health//"])
def test_a_slash_at_a_paths_end_is_named(handler: Handler, path: str) -> None:
    status, body, _ = ask(handler, event(None, "GET", path))
    assert status == 404
    message = body["error"]["message"] if path.startswith("/v1") else body["message"]
    assert f"leave out the slash at its end: {path.rstrip('/')}" in message


def test_out_of_time_carries_retry_after(handler: Handler) -> None:
    status, body, headers = ask(handler, classify_event(SMALL, LABELS), left=1000)
    assert (status, body["code"]) == (503, "out_of_time")
    assert headers["Retry-After"] == "1"


def test_no_thread_stays_busy_after_an_answer(handler: Handler) -> None:
    def idle_cpu_seconds() -> float:
        """Processor time in seconds that this process uses in 50 ms without work."""
        ask(handler, classify_event(SMALL, LABELS))
        start = time.process_time()
        time.sleep(0.05)
        return time.process_time() - start

    assert min(idle_cpu_seconds() for _ in range(5)) < 0.01


@pytest.mark.parametrize(
    ("origin", "named"),
    [
        ("https://a.org", "https://a.org"),
        ("https://b.org", "https://b.org"),
        # A browser refuses the answer, since another page's origin is named.
        ("https://b.org.evil.org", "https://a.org"),
        (None, "https://a.org"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "OPTIONS", "PATCH"])
def test_of_several_origins_an_answer_names_the_callers(
    encoders: Encoders, method: str, origin: str | None, named: str
) -> None:
    handler = Handler(encoders, cors_origin="https://a.org,https://b.org")
    headers = {"Content-Type": "application/json", **({"Origin": origin} if origin else {})}
    asked = classify_event(SMALL, LABELS) | {"httpMethod": method, "headers": headers}
    answer = handler(asked, Context())
    assert answer["statusCode"] == {"POST": 200, "OPTIONS": 204, "PATCH": 405}[method]
    assert answer["headers"]["Access-Control-Allow-Origin"] == named
    assert answer["headers"]["Vary"] == "Origin"


@pytest.mark.parametrize("origin", ["*", "https://a.org"])
def test_one_origin_is_named_to_every_caller(encoders: Encoders, origin: str) -> None:
    asked = event({}, headers={"Origin": "https://b.org"})
    headers = Handler(encoders, cors_origin=origin)(asked, Context())["headers"]
    assert headers["Access-Control-Allow-Origin"] == origin
    assert "Vary" not in headers
