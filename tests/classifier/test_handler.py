import base64
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from classifier.bundle import BundleError, read_manifest
from classifier.encoders import Encoders
from classifier.handler import Handler
from classifier.schema import IMAGE_TYPES
from tests.support.golden import golden_demo
from tests.support.pictures import encoded, picture
from tests.support.requests import DEMO, ROOT, Context, ask, base64_of, event

IMAGES = ROOT / "examples" / "images"
LABELS = ["just chatting", "game streamer", "neutral"]


def question(data: bytes, labels: list[str]) -> dict[str, Any]:
    return event({"image_data": base64_of(data), "labels": labels})


SMALL = encoded(picture(80, 60), "JPEG")


def test_probabilities_come_in_the_order_asked_and_sum_to_one(handler: Handler) -> None:
    status, body, headers = ask(handler, question(SMALL, LABELS))
    assert (status, list(body), list(body["result"])) == (200, ["result"], LABELS)
    assert abs(sum(body["result"].values()) - 1) < 1e-9
    assert headers["Content-Type"] == "application/json"
    assert headers["X-Model"] == "demo"
    assert [part.partition(";")[0] for part in headers["Server-Timing"].split(", ")] == ["decode", "image", "text"]
    assert headers["Access-Control-Expose-Headers"] == "Server-Timing, X-Model"


@pytest.mark.parametrize("file", sorted(golden_demo()["images"]))
def test_answers_agree_with_open_clip(handler: Handler, file: str) -> None:
    expected = golden_demo()["images"][file]["result"]
    result = ask(handler, question((IMAGES / file).read_bytes(), list(expected)))[1]["result"]
    assert max(result, key=result.__getitem__) == max(expected, key=expected.__getitem__)
    np.testing.assert_allclose(list(result.values()), list(expected.values()), atol=0.02)


@pytest.mark.parametrize("label", sorted(golden_demo()["labels"]))
def test_text_embeddings_agree_with_open_clip(encoders: Encoders, label: str) -> None:
    from classifier.tokenizer import Tokenizer

    ids = Tokenizer(encoders.folder, encoders.manifest.text).encode(label)
    assert float(encoders.encode_text([ids])[0] @ np.array(golden_demo()["labels"][label])) > 0.998


def test_one_label_alone_gets_everything(handler: Handler) -> None:
    assert ask(handler, question(SMALL, ["anything"]))[1] == {"result": {"anything": 1.0}}


def test_the_same_question_gets_the_same_bytes_whatever_was_asked_before(encoders: Encoders) -> None:
    fresh, used = Handler(encoders), Handler(encoders)
    ask(used, question(SMALL, ["neutral", "something else entirely", "just chatting"]))
    ask(used, question(encoded(picture(99, 44)), ["game streamer"]))
    one, two = (h(question(SMALL, LABELS), Context())["body"] for h in (fresh, used))
    assert one == two == used(question(SMALL, LABELS), Context())["body"]


def test_labels_of_any_script_come_back_as_they_were_sent(handler: Handler) -> None:
    labels = ["собака", "一只狗", "🐶 dog", 'quo"te\\']
    assert list(ask(handler, question(SMALL, labels))[1]["result"]) == labels


def test_a_thousand_labels_are_answered(handler: Handler) -> None:
    labels = [f"thing number {i}" for i in range(1000)]
    assert list(ask(handler, question(SMALL, labels))[1]["result"]) == labels


@pytest.mark.parametrize(
    ("asked", "status", "code", "field"),
    [
        (event(None), 400, "invalid_json", None),
        (event({"labels": LABELS}), 400, "invalid_request", "image_data"),
        (event({"image_data": "", "labels": LABELS}), 400, "invalid_image", "image_data"),
        (question(b"text", LABELS), 415, "unsupported_media_type", "image_data"),
        (question(SMALL[:300], LABELS), 400, "invalid_image", "image_data"),
        (question(SMALL, ["Cat", "dog", "cat "]), 400, "invalid_request", "labels.2"),
        (question(SMALL, ["dog " * 80]), 400, "label_too_long", "labels.0"),
        (event({"image_data": "", "labels": LABELS, "topk": 1}), 400, "invalid_request", "topk"),
        (event("{}", headers={"content-type": "application/x-www-form-urlencoded"}), 415, "unsupported_media_type", None),
        (event("{}", multiValueQueryStringParameters={"labels": ["a"]}), 400, "invalid_request", None),
        (event(None, resource="/nowhere"), 404, "not_found", None),
        (event(None, method="DELETE"), 405, "not_found", None),
    ],
    ids=["no body", "no image", "empty image", "not an image", "cut image", "same labels", "long label", "misspelt option", "form",
         "query", "path", "method"],
)  # fmt: skip
def test_a_wrong_request_is_refused_and_the_next_is_served(
    handler: Handler, asked: dict[str, Any], status: int, code: str, field: str | None
) -> None:
    got, body, headers = ask(handler, asked)
    assert (got, body["code"], body.get("field")) == (status, code, field)
    assert set(body) <= {"message", "code", "field"}
    assert headers["X-Model"] == "demo"
    assert ("Allow" in headers) == (status == 405)
    assert ask(handler, question(SMALL, LABELS))[0] == 200


def test_labels_that_are_the_same_to_the_model_are_both_named(handler: Handler) -> None:
    message = ask(handler, question(SMALL, ["Cat", "dog", "cat "]))[1]["message"]
    assert '"Cat"' in message
    assert '"cat "' in message


def test_a_missing_content_type_and_base64_bodies_count_as_json(handler: Handler) -> None:
    asked = question(SMALL, LABELS)
    asked["headers"] = None
    asked |= {"body": base64.b64encode(asked["body"].encode()).decode(), "isBase64Encoded": True}
    assert ask(handler, asked)[0] == 200


def test_the_playground_is_a_page_that_fetches_nothing_from_elsewhere(handler: Handler) -> None:
    answer = handler(event(None, method="GET"), Context())
    assert (answer["statusCode"], answer["headers"]["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "<form" in answer["body"]
    assert "://" not in answer["body"]


def test_preflight_lets_the_key_and_json_through(handler: Handler) -> None:
    status, _, headers = ask(handler, event(None, method="OPTIONS"))
    assert status == 204
    assert headers["Access-Control-Allow-Headers"] == "Authorization, Content-Type, X-Api-Key"
    assert headers["Access-Control-Allow-Methods"] == "GET, POST, OPTIONS"


def test_out_of_time_says_when_to_come_again(handler: Handler) -> None:
    status, body, headers = ask(handler, question(SMALL, LABELS), left=1000)
    assert (status, body["code"]) == (503, "out_of_time")
    assert headers["Retry-After"] == "1"


def upload(data: bytes, kind: str = "image/jpeg", **query: list[str]) -> dict[str, Any]:
    return event(base64_of(data), headers={"content-type": kind}, multiValueQueryStringParameters=query) | {
        "isBase64Encoded": True
    }


@pytest.mark.parametrize("kind", IMAGE_TYPES)
def test_an_image_as_the_body_is_told_by_its_content_and_answered_as_base64_is(handler: Handler, kind: str) -> None:
    body = {
        "image_data": base64_of(SMALL),
        "labels": LABELS,
        "templates": ["{}", "a {}"],
        "multi_label": True,
        "top_k": 2,
        "fit": "pad",
    }
    query = {"labels": LABELS, "templates": ["{}", "a {}"], "multi_label": ["true"], "top_k": ["2"], "fit": ["pad"]}
    assert ask(handler, upload(SMALL, kind, **query))[:2] == ask(handler, event(body))[:2]


@pytest.mark.parametrize(
    ("asked", "status", "field"),
    [
        (upload(SMALL), 400, "labels"),
        (upload(SMALL, labels=["a"], top=["1"]), 400, "top"),
        (upload(b"", labels=["a"]), 400, "image_data"),
        (upload(b"text", labels=["a"]), 415, "image_data"),
        (upload(SMALL, "image/tiff", labels=["a"]), 415, None),
        (upload(b"a=1&b=2", "application/x-www-form-urlencoded", labels=["a"]), 415, None),
        (upload(SMALL, labels=["a dog, a cat"]), 400, "labels"),
        (upload(SMALL, labels=['["a dog"]']), 400, "labels"),
        (upload(SMALL, labels=["caf\ufffd", "b"]), 400, "labels.0"),
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
def test_a_wrong_upload_is_refused(handler: Handler, asked: dict[str, Any], status: int, field: str | None) -> None:
    got, body, _ = ask(handler, asked)
    assert (got, body.get("field")) == (status, field)


def test_an_image_that_curl_sends_as_a_form_is_taken(handler: Handler) -> None:
    answer = ask(handler, upload(SMALL, "application/x-www-form-urlencoded", labels=LABELS))[:2]
    assert answer == ask(handler, upload(SMALL, labels=LABELS))[:2]
    assert answer[0] == 200


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "AVIF", "TIFF"])
def test_an_image_without_a_content_type_is_told_the_missing_header(handler: Handler, kind: str) -> None:
    # API Gateway takes a body without a content type for text.
    text = encoded(picture(80, 60), kind).decode("utf-8", "replace")
    for query in ({}, {"labels": LABELS}):
        status, body, _ = ask(handler, event(text, headers={}, multiValueQueryStringParameters=query))
        assert (status, body["code"]) == (415, "unsupported_media_type")
        assert "Content-Type is missing" in body["message"]
        assert '-H "Content-Type: image/jpeg"' in body["message"]


@pytest.mark.parametrize(
    ("body", "headers", "status", "words"),
    [
        (b"--b\r\n", {"content-type": "multipart/form-data; boundary=b"}, 415, "Form uploads are not taken"),
        (b"\x1f\x8b\x08\0", {"content-type": "application/json", "content-encoding": "gzip"}, 415, 'Content-Encoding "gzip"'),
        (SMALL, {"content-type": "image/jpeg", "content-encoding": "br"}, 415, 'Content-Encoding "br"'),
        (SMALL, {"content-type": "application/json"}, 400, "not JSON but binary"),
        ("{}".encode("utf-16"), {"content-type": "application/json"}, 400, "UTF-16"),
        ("{}".encode("utf-16-be"), {}, 400, "UTF-16"),
        ('{"labels": ["café"]}'.encode("latin-1"), {}, 400, "UTF-8"),
        (b"", {}, 400, "is empty"),
    ],
    ids=["form upload", "gzip", "compressed image", "image as JSON", "UTF-16", "UTF-16 without a type", "Latin-1", "empty"],
)
@pytest.mark.parametrize("is_text", [False, True], ids=["bytes", "text"])
def test_a_body_of_another_kind_is_named(
    handler: Handler, body: bytes, headers: dict[str, str], status: int, words: str, is_text: bool
) -> None:
    asked = event(body.decode("utf-8", "replace") if is_text else base64_of(body), headers=headers) | {
        "isBase64Encoded": not is_text
    }
    got, answer, _ = ask(handler, asked)
    assert (got, words in answer["message"]) == (status, True), answer


def test_json_with_a_byte_order_mark_is_read(handler: Handler) -> None:
    asked = question(SMALL, LABELS)
    expected = ask(handler, asked)[1]
    assert ask(handler, asked | {"body": "\ufeff" + asked["body"]})[1] == expected
    marked = base64_of(b"\xef\xbb\xbf" + asked["body"].encode())
    assert ask(handler, asked | {"body": marked, "isBase64Encoded": True})[1] == expected


def zero_shot(data: bytes, **parameters: Any) -> dict[str, Any]:
    return event({"inputs": base64_of(data), "parameters": parameters})


def test_hugging_faces_form_gets_its_own_answer_best_first(handler: Handler) -> None:
    status, body, _ = ask(handler, zero_shot(SMALL, candidate_labels=LABELS))
    ours = ask(handler, event({"image_data": base64_of(SMALL), "labels": LABELS, "templates": ["This is a photo of {}."]}))[1][
        "result"
    ]
    assert status == 200
    assert body == [{"label": label, "score": share} for label, share in sorted(ours.items(), key=lambda pair: -pair[1])]


@pytest.mark.parametrize(
    ("asked", "status", "field"),
    [
        (zero_shot(SMALL), 400, "parameters.candidate_labels"),
        (zero_shot(SMALL, candidate_labels=["Cat", "cat "]), 400, "parameters.candidate_labels.1"),
        (zero_shot(b"text", candidate_labels=["a"]), 415, "inputs"),
        (zero_shot(SMALL, candidate_labels=["a dog, a cat"]), 400, "parameters.candidate_labels"),
        (zero_shot(SMALL, candidate_labels='["a dog", "a cat"]'), 400, "parameters.candidate_labels"),
        (event({"inputs": {"image": "AAAA", "url": ""}, "parameters": {"candidate_labels": ["a"]}}), 400, "inputs"),
    ],
    ids=["no labels", "same labels", "no image", "joined labels", "a JSON list", "unknown input"],
)
def test_errors_in_hugging_faces_form_carry_the_key_that_its_client_shows(
    handler: Handler, asked: dict[str, Any], status: int, field: str
) -> None:
    got, body, _ = ask(handler, asked)
    assert (got, body["field"], body["error"]) == (status, field, body["message"])
    assert "error" not in ask(handler, event({"labels": ["a"]}))[1]


def test_hugging_faces_other_ways_to_say_it_get_the_same_answer(handler: Handler) -> None:
    expected = ask(handler, zero_shot(SMALL, candidate_labels=LABELS))[1]
    assert ask(handler, zero_shot(SMALL, candidate_labels=", ".join(LABELS)))[1] == expected
    wrapped = event({"inputs": {"image": base64_of(SMALL)}, "parameters": {"candidate_labels": LABELS}})
    assert ask(handler, wrapped)[1] == expected


def test_no_thread_stays_busy_behind_an_answer(handler: Handler) -> None:
    def burnt() -> float:
        """Seconds of processor time that this process takes while it has nothing to do."""
        ask(handler, question(SMALL, LABELS))
        began = time.process_time()
        time.sleep(0.05)
        return time.process_time() - began

    assert min(burnt() for _ in range(5)) < 0.01


class BrokenEncoders:
    """Fails as no request should make it fail, then works."""

    def __init__(self, real: Encoders) -> None:
        self.folder, self.manifest, self.encode_text = real.folder, real.manifest, real.encode_text
        self._real, self.failures = real, 1

    def encode_images(self, squares: list[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        if self.failures:
            self.failures -= 1
            raise RuntimeError("secret path /var/task/inside")
        return self._real.encode_images(squares)


def test_an_error_of_ours_is_mute_logged_whole_and_does_not_last(encoders: Encoders, caplog: pytest.LogCaptureFixture) -> None:
    handler = Handler(BrokenEncoders(encoders))  # type: ignore[arg-type]
    status, body, _ = ask(handler, question(SMALL, LABELS))
    assert (status, body) == (500, {"message": "Internal error, nothing you did.", "code": "internal_error"})
    assert "secret path" in caplog.text
    assert ask(handler, question(SMALL, LABELS))[0] == 200


def test_the_log_has_one_line_a_request_and_never_a_label(handler: Handler, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    ask(handler, question(SMALL, LABELS))
    ask(handler, question(SMALL, ["Cat", "cat "]))
    good, bad = (record.__dict__ for record in caplog.records)
    assert (good["status"], good["labels"], good["cache_hits"], good["pixels"], good["format"]) == (200, 3, 0, 4800, "JPEG")
    assert (good["start"], bad["start"]) == ("cold", "warm")
    assert (bad["status"], bad["code"]) == (400, "invalid_request")
    assert not any(label.lower() in repr(record.__dict__).lower() for record in caplog.records for label in [*LABELS, '"cat'])


def test_a_damaged_bundle_is_refused_with_the_file_and_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"bundle\.json is missing.*make model"):
        read_manifest(tmp_path, verify_hashes=False)
    for path in DEMO.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    read_manifest(tmp_path, verify_hashes=True)
    described = (tmp_path / "bundle.json").read_bytes()
    (tmp_path / "bundle.json").write_text('{"format": 1}')
    with pytest.raises(BundleError, match=r"has format 1, this program reads 3.*make model"):
        read_manifest(tmp_path, verify_hashes=False)
    (tmp_path / "bundle.json").write_bytes(described)
    text = bytearray((tmp_path / "text.onnx").read_bytes())
    text[1000] ^= 1
    (tmp_path / "text.onnx").write_bytes(text)
    read_manifest(tmp_path, verify_hashes=False)
    with pytest.raises(BundleError, match=r"text\.onnx.*sha256"):
        read_manifest(tmp_path, verify_hashes=True)
    (tmp_path / "text.onnx").write_bytes(text[:-1])
    with pytest.raises(BundleError, match=r"text\.onnx has"):
        read_manifest(tmp_path, verify_hashes=False)
