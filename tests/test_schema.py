import base64
import json
from typing import Any

import pytest

from classifier.errors import ClientError
from classifier.schema import from_base64, read_request

IMAGE = bytes(range(256)) + b"\xfb\xff"
GOOD = {"image_data": base64.b64encode(IMAGE).decode(), "labels": ["a dog", "a cat"]}


def refusal(body: str | bytes) -> ClientError:
    with pytest.raises(ClientError) as caught:
        read_request(body)
    return caught.value


def changed(**fields: Any) -> str:
    return json.dumps(GOOD | fields)


def test_a_request_is_read() -> None:
    asked = read_request(json.dumps(GOOD))
    assert (asked.image_data, asked.labels) == (IMAGE, ["a dog", "a cat"])


@pytest.mark.parametrize(
    "text",
    [
        base64.b64encode(IMAGE).decode(),
        base64.urlsafe_b64encode(IMAGE).decode(),
        base64.urlsafe_b64encode(IMAGE).decode().rstrip("="),
        base64.encodebytes(IMAGE).decode(),
        "data:image/jpeg;base64," + base64.b64encode(IMAGE).decode(),
    ],
    ids=["standard", "url-safe", "unpadded", "with line ends", "data URI"],
)
def test_base64_is_taken_in_its_usual_forms(text: str) -> None:
    assert from_base64(text) == IMAGE


@pytest.mark.parametrize("text", ["a*b=", "abc=def=", "a", "é", "ab==cd", "data:image/png,abcd", "====", 7, None])
def test_what_is_not_base64_is_refused_not_skipped(text: object) -> None:
    assert refusal(changed(image_data=text)).field == "image_data"


@pytest.mark.parametrize(
    ("body", "code", "field", "said"),
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
        (changed(zzz=1), "invalid_request", "zzz", "Known fields: image_data, labels"),
        (changed(labels="a"), "invalid_request", "labels", "list"),
        (changed(labels=[]), "invalid_request", "labels", "at least 1"),
        (changed(labels=["a", 1]), "invalid_request", "labels.1", "string"),
        (changed(labels=["a", ""]), "invalid_request", "labels.1", "empty"),
        (changed(labels=["\ud800"]), "invalid_request", "labels.0", "surrogate"),
        (changed(labels=[str(i) for i in range(1001)]), "invalid_request", "labels", "at most 1000"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_wrong_request_is_refused_with_its_field(body: str | bytes, code: str, field: str | None, said: str) -> None:
    error = refusal(body)
    assert (error.status, error.code, error.field) == (400, code, field)
    assert said in error.message
