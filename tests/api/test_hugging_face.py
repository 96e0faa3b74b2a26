"""Hugging Face's form of requests and answers."""

from typing import Any

import pytest

from classifier.api.handler import Handler
from tests.support.requests import LABELS, SMALL, ask, base64_of, event


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
        {
            "inputs": {"image": base64_of(SMALL), "text": None},
            "parameters": {"candidate_labels": LABELS},
        }
    )
    assert ask(handler, wrapped)[1] == expected
