import base64
import logging
import re
import time
import tomllib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from classifier.api.handler import Handler
from classifier.contract.request.media_types import IMAGE_TYPES
from classifier.model.encoders import Encoders
from tests.support.golden import golden_demo
from tests.support.pictures import encoded, picture
from tests.support.requests import ROOT, Context, ask, base64_of, event

IMAGES = ROOT / "examples" / "images"
LABELS = ["just chatting", "game streamer", "neutral"]


def classify_event(data: bytes, labels: list[str]) -> dict[str, Any]:
    return event({"image_data": base64_of(data), "labels": labels})


SMALL = encoded(picture(80, 60), "JPEG")


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
    assert headers["Access-Control-Expose-Headers"] == "Server-Timing, X-Model"


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
    ask(used, classify_event(encoded(picture(99, 44)), ["game streamer"]))
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


def test_a_missing_content_type_and_base64_bodies_count_as_json(handler: Handler) -> None:
    request_event = classify_event(SMALL, LABELS)
    request_event["headers"] = None
    request_event |= {
        "body": base64.b64encode(request_event["body"].encode()).decode(),
        "isBase64Encoded": True,
    }
    assert ask(handler, request_event)[0] == 200


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
    assert (status, body) == (200, {"status": "ok", "model": "demo", "version": project["version"]})
    assert headers["Cache-Control"] == "no-store"


def test_a_get_with_a_picture_says_how_to_send_it(handler: Handler) -> None:
    status, body, _ = ask(handler, event("\ufffdPNG", "GET"))
    assert (status, body["code"]) == (400, "invalid_request")
    assert "send it with POST" in body["message"]


@pytest.mark.parametrize("path", ["/classifiers/", "/v1/models/", "/openapi.json/", "/health//"])
def test_a_slash_at_a_paths_end_is_named(handler: Handler, path: str) -> None:
    status, body, _ = ask(handler, event(None, "GET", path))
    assert status == 404
    message = body["error"]["message"] if path.startswith("/v1") else body["message"]
    assert f"leave out the slash at its end: {path.rstrip('/')}" in message


def test_the_models_are_the_bundle_and_the_classifiers(deployed: Handler) -> None:
    status, answer, _ = ask(deployed, event(None, "GET", "/v1/models"))
    names = [model["id"] for model in answer["data"]]
    assert (status, names[0], answer["object"]) == (200, "demo", "list")
    assert "drawings" in names
    for model in answer["data"]:
        # As API Gateway says it, and as everything else does.
        for resource, more in (
            ("/v1/models/{id}", {"pathParameters": {"id": model["id"]}}),
            (f"/v1/models/{model['id']}", {}),
        ):
            assert ask(deployed, event(None, "GET", resource, **more))[:2] == (200, model)
    status, answer, _ = ask(deployed, event(None, "GET", "/v1/models/drawing"))
    assert (status, answer["error"]["param"]) == (404, "model")
    assert 'Did you mean "drawings"?' in answer["error"]["message"]


def test_out_of_time_carries_retry_after(handler: Handler) -> None:
    status, body, headers = ask(handler, classify_event(SMALL, LABELS), left=1000)
    assert (status, body["code"]) == (503, "out_of_time")
    assert headers["Retry-After"] == "1"


def upload_event(data: bytes, kind: str = "image/jpeg", **query: list[str]) -> dict[str, Any]:
    return event(
        base64_of(data), headers={"content-type": kind}, multiValueQueryStringParameters=query
    ) | {"isBase64Encoded": True}


@pytest.mark.parametrize("kind", IMAGE_TYPES)
def test_an_image_body_is_recognised_by_its_content_and_answered_like_base64(
    handler: Handler, kind: str
) -> None:
    body = {
        "image_data": base64_of(SMALL),
        "labels": LABELS,
        "templates": ["{}", "a {}"],
        "multi_label": True,
        "top_k": 2,
        "fit": "pad",
    }
    query = {
        "labels": LABELS,
        "templates": ["{}", "a {}"],
        "multi_label": ["true"],
        "top_k": ["2"],
        "fit": ["pad"],
    }
    assert ask(handler, upload_event(SMALL, kind, **query))[:2] == ask(handler, event(body))[:2]


@pytest.mark.parametrize(
    ("request_event", "status", "field"),
    [
        (upload_event(SMALL), 400, "labels"),
        (upload_event(SMALL, labels=["a"], top=["1"]), 400, "top"),
        (upload_event(b"", labels=["a"]), 400, "image_data"),
        (upload_event(b"text", labels=["a"]), 415, "image_data"),
        (upload_event(SMALL, "image/tiff", labels=["a"]), 415, None),
        (upload_event(b"a=1&b=2", "application/x-www-form-urlencoded", labels=["a"]), 415, None),
        (upload_event(SMALL, labels=["a dog, a cat"]), 400, "labels"),
        (upload_event(SMALL, labels=['["a dog"]']), 400, "labels"),
        (upload_event(SMALL, labels=["caf\ufffd", "b"]), 400, "labels.0"),
    ],
    ids=[
        "no labels",
        "unknown parameter",
        "empty",
        "no image",
        "another format",
        "a form",
        "joined labels",
        "a JSON list",
        "Latin-1",
    ],
)
def test_a_wrong_upload_is_refused(
    handler: Handler, request_event: dict[str, Any], status: int, field: str | None
) -> None:
    result, body, _ = ask(handler, request_event)
    assert (result, body.get("field")) == (status, field)


def test_an_image_that_curl_sends_as_a_form_is_taken(handler: Handler) -> None:
    answer = ask(handler, upload_event(SMALL, "application/x-www-form-urlencoded", labels=LABELS))[
        :2
    ]
    assert answer == ask(handler, upload_event(SMALL, labels=LABELS))[:2]
    assert answer[0] == 200


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "AVIF", "TIFF"])
def test_an_image_without_a_content_type_is_told_the_missing_header(
    handler: Handler, kind: str
) -> None:
    # API Gateway takes a body without a content type for text.
    text = encoded(picture(80, 60), kind).decode("utf-8", "replace")
    for query in ({}, {"labels": LABELS}):
        status, body, _ = ask(
            handler, event(text, headers={}, multiValueQueryStringParameters=query)
        )
        assert (status, body["code"]) == (415, "unsupported_media_type")
        assert "Content-Type is missing" in body["message"]
        assert '-H "Content-Type: image/jpeg"' in body["message"]


@pytest.mark.parametrize(
    ("body", "headers", "status", "words"),
    [
        (
            b"--b\r\n",
            {"content-type": "multipart/form-data; boundary=b"},
            400,
            "The form can't be read",
        ),
        (
            b"\x1f\x8b\x08\0",
            {"content-type": "application/json", "content-encoding": "gzip"},
            415,
            'Content-Encoding "gzip"',
        ),
        (
            SMALL,
            {"content-type": "image/jpeg", "content-encoding": "br"},
            415,
            'Content-Encoding "br"',
        ),
        (SMALL, {"content-type": "application/json"}, 400, "not JSON but binary"),
        ("{}".encode("utf-16"), {"content-type": "application/json"}, 400, "UTF-16"),
        ("{}".encode("utf-16-be"), {}, 400, "UTF-16"),
        ('{"labels": ["café"]}'.encode("latin-1"), {}, 400, "UTF-8"),
        (b"", {}, 400, "is empty"),
    ],
    ids=[
        "form upload",
        "gzip",
        "compressed image",
        "image as JSON",
        "UTF-16",
        "UTF-16 without a type",
        "Latin-1",
        "empty",
    ],
)
@pytest.mark.parametrize("is_text", [False, True], ids=["bytes", "text"])
def test_a_body_of_another_kind_is_named(
    handler: Handler, body: bytes, headers: dict[str, str], status: int, words: str, is_text: bool
) -> None:
    asked = event(
        body.decode("utf-8", "replace") if is_text else base64_of(body), headers=headers
    ) | {"isBase64Encoded": not is_text}
    got, answer, _ = ask(handler, asked)
    assert (got, words in answer["message"]) == (status, True), answer


def test_json_with_a_byte_order_mark_is_read(handler: Handler) -> None:
    asked = classify_event(SMALL, LABELS)
    expected = ask(handler, asked)[1]
    assert ask(handler, asked | {"body": "\ufeff" + asked["body"]})[1] == expected
    marked = base64_of(b"\xef\xbb\xbf" + asked["body"].encode())
    assert ask(handler, asked | {"body": marked, "isBase64Encoded": True})[1] == expected


def hugging_face_event(data: bytes, **parameters: Any) -> dict[str, Any]:
    return event({"inputs": base64_of(data), "parameters": parameters})


def test_hugging_faces_form_gets_a_list_of_scores_best_first(handler: Handler) -> None:
    status, body, _ = ask(handler, hugging_face_event(SMALL, candidate_labels=LABELS))
    ordinary = ask(
        handler,
        event(
            {
                "image_data": base64_of(SMALL),
                "labels": LABELS,
                "templates": ["This is a photo of {}."],
            }
        ),
    )[1]["result"]
    assert status == 200
    assert body == [
        {"label": label, "score": share}
        for label, share in sorted(ordinary.items(), key=lambda pair: -pair[1])
    ]


@pytest.mark.parametrize(
    ("request_event", "status", "field"),
    [
        (hugging_face_event(SMALL), 400, "parameters.candidate_labels"),
        (
            hugging_face_event(SMALL, candidate_labels=["Cat", "cat "]),
            400,
            "parameters.candidate_labels.1",
        ),
        (hugging_face_event(b"text", candidate_labels=["a"]), 415, "inputs"),
        (
            hugging_face_event(SMALL, candidate_labels=["a dog, a cat"]),
            400,
            "parameters.candidate_labels",
        ),
        (
            hugging_face_event(SMALL, candidate_labels='["a dog", "a cat"]'),
            400,
            "parameters.candidate_labels",
        ),
        (
            event(
                {"inputs": {"image": "AAAA", "url": ""}, "parameters": {"candidate_labels": ["a"]}}
            ),
            400,
            "inputs",
        ),
    ],
    ids=["no labels", "same labels", "no image", "joined labels", "a JSON list", "unknown input"],
)
def test_errors_in_hugging_faces_form_repeat_the_message_under_error(
    handler: Handler, request_event: dict[str, Any], status: int, field: str
) -> None:
    result, body, _ = ask(handler, request_event)
    assert (result, body["field"], body["error"]) == (status, field, body["message"])
    assert "error" not in ask(handler, event({"labels": ["a"]}))[1]


def test_hugging_faces_other_ways_to_say_it_get_the_same_answer(handler: Handler) -> None:
    expected = ask(handler, hugging_face_event(SMALL, candidate_labels=LABELS))[1]
    assert (
        ask(handler, hugging_face_event(SMALL, candidate_labels=", ".join(LABELS)))[1] == expected
    )
    wrapped = event(
        {"inputs": {"image": base64_of(SMALL)}, "parameters": {"candidate_labels": LABELS}}
    )
    assert ask(handler, wrapped)[1] == expected


def test_no_thread_stays_busy_after_an_answer(handler: Handler) -> None:
    def idle_cpu_seconds() -> float:
        """Processor time in seconds that this process uses in 50 ms without work."""
        ask(handler, classify_event(SMALL, LABELS))
        start = time.process_time()
        time.sleep(0.05)
        return time.process_time() - start

    assert min(idle_cpu_seconds() for _ in range(5)) < 0.01


class BrokenEncoders:
    """Fails on the first image, then works."""

    def __init__(self, real: Encoders) -> None:
        self.folder = real.folder
        self.manifest = real.manifest
        self.encode_text = real.encode_text
        self._real = real
        self.failures = 1
        self.prepare_text = real.prepare_text

    def encode_images(self, squares: list[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        if self.failures:
            self.failures -= 1
            raise RuntimeError("secret path /var/task/inside")
        return self._real.encode_images(squares)


def test_an_internal_error_is_logged_but_not_shown_and_does_not_last(
    encoders: Encoders, caplog: pytest.LogCaptureFixture
) -> None:
    handler = Handler(BrokenEncoders(encoders))  # type: ignore[arg-type]
    status, body, _ = ask(handler, classify_event(SMALL, LABELS))
    assert (status, body) == (
        500,
        {"message": "Internal error, not caused by your request.", "code": "internal_error"},
    )
    assert "secret path" in caplog.text
    assert ask(handler, classify_event(SMALL, LABELS))[0] == 200


def test_the_log_has_one_line_per_request_and_never_a_label(
    handler: Handler, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    ask(handler, classify_event(SMALL, LABELS))
    ask(handler, classify_event(SMALL, ["Cat", "cat "]))
    good, bad = (record.__dict__ for record in caplog.records)
    assert (good["status"], good["labels"], good["cache_hits"], good["pixels"], good["format"]) == (
        200,
        3,
        0,
        4800,
        "JPEG",
    )
    assert (good["start"], bad["start"]) == ("cold", "warm")
    assert (bad["status"], bad["code"]) == (400, "invalid_request")
    assert not any(
        label.lower() in repr(record.__dict__).lower()
        for record in caplog.records
        for label in [*LABELS, '"cat']
    )


def test_null_beside_a_moderations_picture_counts_as_left_out(deployed: Handler) -> None:
    url = {"url": f"data:image/png;base64,{base64_of(SMALL)}", "detail": None}
    item = {"type": "image_url", "image_url": url, "text": None}
    body = {"model": "drawings", "input": [item], "user": None}
    status, answer, _ = ask(deployed, event(body, resource="/v1/moderations"))
    assert status == 400 and answer["error"]["param"] == "user"
    del body["user"]
    assert ask(deployed, event(body, resource="/v1/moderations"))[0] == 200
    null = {"model": "demo", "input": "a", "dimensions": None, "user": None}
    assert ask(deployed, event(null, resource="/v1/embeddings"))[0] == 200
