"""Requests that name a classifier and are refused."""

from typing import Any

import pytest

from classifier.api.handler import Handler
from classifier.model.encoders import Encoders
from tests.support.classifiers import IMAGE, PETS, WORDS, handler_of
from tests.support.requests import ask, event


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        (
            {"classifier": "pet"},
            "classifier",
            'classifier has "pet", which is no classifier here. Did you mean "pets"?',
        ),
        ({"classifier": "zzz"}, "classifier", 'Known: "pets"'),
        ({"classifier": "No Name"}, "classifier", "classifier must have the form"),
        ({"classifier": 1}, "classifier", "classifier must be a string"),
        ({"classifier": "pets", "labels": WORDS}, "labels", "is the classifier's own"),
        (
            {"classifier": "pets", "categories": {"a": ["b"]}},
            "categories",
            "is the classifier's own",
        ),
        (
            {"classifier": "pets", "thresholds": {"a dog": 0.5}},
            "thresholds",
            "is the classifier's own",
        ),
        ({"classifier": "pets", "multi_label": True}, "multi_label", "is the classifier's own"),
        ({"classifier": "pets", "fit": "pad"}, "fit", "is the classifier's own"),
        (
            {"classifier": "pets", "regions": 2, "regions_combine": "max"},
            "regions_combine",
            "thresholds are for",
        ),
        ({"labels": WORDS, "actions": ["review"]}, "actions", "send thresholds"),
        ({"labels": WORDS, "min_similarity": 0.2}, "min_similarity", "needs thresholds"),
        (
            {"labels": WORDS, "thresholds": {"a cow": 0.2}},
            "thresholds.a cow",
            "which is no label or category here",
        ),
        ({"labels": WORDS, "thresholds": {"a dog": float(2)}}, "thresholds.a dog", "from 0 to 1"),
        ({"labels": WORDS, "thresholds": {}}, "thresholds", "needs at least 1 entry"),
        ({"labels": ["a dog"], "thresholds": {"a dog": 0.2}}, "thresholds", "multi_label: true"),
        (
            {"categories": {"a": ["b", "c"]}, "thresholds": {"a": 0.2}},
            "thresholds",
            "multi_label: true",
        ),
        (
            {"labels": WORDS, "actions": ["a", "a"], "thresholds": {"a dog": {"a": 0.2}}},
            "actions",
            "twice",
        ),
    ],
)
def test_a_wrong_classifier_or_threshold_is_refused_by_name(
    encoders: Encoders, body: dict[str, Any], field: str, message: str
) -> None:
    handler = handler_of(encoders, pets=PETS)
    status, error, _ = ask(handler, event({"image_data": IMAGE, **body}))
    assert (status, error["code"], error["field"]) == (400, "invalid_request", field)
    assert message in error["message"]


def test_without_classifiers_a_name_is_refused_and_the_list_is_empty(handler: Handler) -> None:
    assert (
        "there is no classifier here"
        in ask(handler, event({"image_data": IMAGE, "classifier": "pets"}))[1]["message"]
    )
    assert ask(handler, event(None, "GET", "/classifiers"))[:2] == (200, {"classifiers": []})
