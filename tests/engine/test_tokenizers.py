"""Bundles whose tokenizer is another than CLIP's, asked through the API."""

from pathlib import Path
from typing import Any

import pytest

from classifier.api.handler import Handler
from classifier.model.encoders import Encoders
from tests.support.requests import SMALL, ask, base64_of, event
from tests.support.tokenizers import KINDS, bundle_with


def handler_of(bundle: Path) -> Handler:
    return Handler(Encoders.load(bundle, threads=1, verify_hashes=True))


def answer(handler: Handler, labels: list[str]) -> tuple[int, Any]:
    status, body, _ = ask(handler, event({"image_data": base64_of(SMALL), "labels": labels}))
    return status, body


@pytest.mark.parametrize("kind", KINDS)
def test_a_bundle_of_each_kind_answers_and_refuses_what_it_cannot_read(
    kind: str, tmp_path: Path
) -> None:
    handler = handler_of(bundle_with(tmp_path, kind))
    status, body = answer(handler, ["a photo of a cat", "a dog", "Überraschung"])
    assert status == 200
    assert sum(body["result"].values()) == pytest.approx(1)
    special = "[SEP]" if kind == "BERT" else "<unk>"
    for label, code, message in (
        ("dog " * 80, "label_too_long", "tokens; the model reads at most 7"),
        (" \t&nbsp;\n", "invalid_request", "empty"),
        (f"a {special} dog", "invalid_request", f"contains {special}, which the model reserves"),
        ("A  dog", "", ""),
    ):
        status, body = answer(handler, ["a cat", label])
        assert (status, body.get("code", "")) == (400 if code else 200, code), body
        if code:
            assert body["field"] == "labels.1"
            assert message in body["message"]


@pytest.mark.parametrize("kind", ["XLM-R", "NLLB", "BERT"])
def test_a_label_of_unknown_characters_alone_is_refused(kind: str, tmp_path: Path) -> None:
    handler = handler_of(bundle_with(tmp_path, kind))
    status, body = answer(handler, ["a dog", "犬 猫"])
    assert (status, body["code"], body["field"]) == (400, "invalid_request", "labels.1")
    assert "no character of it is in the model's vocabulary" in body["message"]
    assert answer(handler, ["a dog", "犬 dog"])[0] == 200


def test_labels_that_differ_in_punctuation_alone_are_the_same_to_a_model_without_it(
    tmp_path: Path,
) -> None:
    handler = handler_of(bundle_with(tmp_path, "Gemma", clean="canonicalize"))
    status, body = answer(handler, ["a dog!", "A_dog"])
    assert status == 400
    assert "the same to the model" in body["message"]
    status, body = answer(handler, ["a dog", "?!"])
    assert status == 400
    assert "empty without white space, punctuation and invisible characters" in body["message"]
