"""Bodies: images, JSON and those of other kinds."""

import base64
from typing import Any

import pytest

from classifier.api.handler import Handler
from classifier.contract.request.media_types import IMAGE_TYPES
from tests.support.images import encoded, soft_image
from tests.support.requests import (
    LABELS,
    SMALL,
    ask,
    base64_of,
    classify_event,
    event,
)


def test_a_missing_content_type_and_base64_bodies_count_as_json(handler: Handler) -> None:
    request_event = classify_event(SMALL, LABELS)
    request_event["headers"] = None
    request_event |= {
        "body": base64.b64encode(request_event["body"].encode()).decode(),
        "isBase64Encoded": True,
    }
    assert ask(handler, request_event)[0] == 200


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
    text = encoded(soft_image(80, 60), kind).decode("utf-8", "replace")
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
        (b'{"labels": ["a", "b"]}', {"content-type": "image/png"}, 415, "This is JSON"),
        (SMALL, {"content-type": "image/tiff"}, 415, '"image/tiff" is not supported'),
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
        "JSON as an image",
        "image of another type",
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


def test_an_image_sent_as_json_is_told_its_content_type_even_if_its_labels_are_in_the_url(
    handler: Handler,
) -> None:
    status, body, _ = ask(handler, upload_event(SMALL, "application/json", labels=LABELS))
    assert (status, "not JSON but binary data" in body["message"]) == (400, True)


def test_json_with_a_byte_order_mark_is_read(handler: Handler) -> None:
    asked = classify_event(SMALL, LABELS)
    expected = ask(handler, asked)[1]
    assert ask(handler, asked | {"body": "\ufeff" + asked["body"]})[1] == expected
    marked = base64_of(b"\xef\xbb\xbf" + asked["body"].encode())
    assert ask(handler, asked | {"body": marked, "isBase64Encoded": True})[1] == expected
