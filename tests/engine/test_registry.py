"""Classifiers by name, from the file to the answer, on the demo model."""

import json
from pathlib import Path

import pytest

from classifier.api.handler import Handler
from classifier.contract.classifiers.file import ClassifierError, parse_classifier
from classifier.main import build
from classifier.model.encoders import Encoders
from classifier.start import begin
from tests.support.classifiers import IMAGE, PETS, QUESTION, WORDS, handler_of, learned, word_rows
from tests.support.encoders import CountingEncoders
from tests.support.images import encoded, soft_image
from tests.support.requests import DEMO, Context, ask, base64_of, event


def test_a_name_is_answered_as_its_question_is_to_the_last_bit(encoders: Encoders) -> None:
    handler = handler_of(
        encoders,
        pets=PETS,
        both=PETS | {"multi_label": True, "templates": ["{}", "a picture of {}"]},
    )
    for name, question in (
        ("pets", QUESTION),
        ("both", QUESTION | {"multi_label": True, "templates": ["{}", "a picture of {}"]}),
    ):
        for more in (
            {},
            {"top_k": 1, "details": True, "embedding": True},
            {"min_probability": 0.5},
            {"regions": 2},
        ):
            named = ask(handler, event({"image_data": IMAGE, "classifier": name, **more}))
            assert named[0] == 200
            assert named[:2] == ask(handler, event({"image_data": IMAGE, **question, **more}))[:2]


def test_the_decision_is_taken_before_top_k_and_min_probability(encoders: Encoders) -> None:
    handler = handler_of(encoders, pets=PETS)
    asked = {"image_data": IMAGE, "classifier": "pets"}
    whole = ask(handler, event(asked))[1]
    assert whole["decision"] == {
        "labels": [
            {
                "name": "a dog",
                "probability": whole["result"]["a dog"],
                "threshold": 0.9,
                "action": "block",
            },
            {
                "name": "a cat",
                "probability": whole["result"]["a cat"],
                "threshold": 0.0,
                "action": "block",
            },
        ],
        "action": "block",
    }
    for more in ({"top_k": 1}, {"min_probability": 0.99}):
        cut = ask(handler, event(asked | more))[1]
        assert cut["decision"] == whole["decision"] and len(cut["result"]) < 3


def test_a_name_works_for_an_image_as_the_body_for_many_and_for_an_embedding(
    encoders: Encoders,
) -> None:
    handler = handler_of(encoders, pets=PETS)
    one = ask(handler, event({"image_data": IMAGE, "classifier": "pets", "embedding": True}))[1]
    raw = event(
        IMAGE,
        headers={"content-type": "image/jpeg"},
        multiValueQueryStringParameters={"classifier": ["pets"]},
    )
    assert ask(handler, raw | {"isBase64Encoded": True})[1]["decision"] == one["decision"]
    many = ask(handler, event({"images": [IMAGE, "AAAA", IMAGE], "classifier": "pets"}))[1][
        "results"
    ]
    assert many[0]["decision"] == many[2]["decision"] == one["decision"] and "error" in many[1]
    again = ask(handler, event({"image_embedding": one["embedding"], "classifier": "pets"}))[1]
    assert again["decision"]["action"] == "block"


def test_an_image_unlike_every_prompt_is_none_of_these(encoders: Encoders) -> None:
    handler = handler_of(
        encoders, none=PETS | {"min_similarity": 0.99}, some=PETS | {"min_similarity": -1}
    )
    none, some = (
        ask(handler, event({"image_data": IMAGE, "classifier": name}))[1]
        for name in ("none", "some")
    )
    assert (
        none["decision"] == {"labels": [], "action": None} and some["decision"]["action"] == "block"
    )
    assert none["result"] == some["result"]
    similar = ask(handler, event({"image_data": IMAGE, "labels": WORDS, "details": True}))[1][
        "similarities"
    ]
    for step, names in ((-1e-6, 2), (1e-6, 0)):
        asked = QUESTION | {"image_data": IMAGE, "min_similarity": max(similar.values()) + step}
        assert len(ask(handler, event(asked))[1]["decision"]["labels"]) == names


def test_a_classifier_without_thresholds_decides_nothing(encoders: Encoders) -> None:
    handler = handler_of(encoders, plain={"labels": WORDS})
    assert set(ask(handler, event({"image_data": IMAGE, "classifier": "plain"}))[1]) == {"result"}


def test_its_prompts_are_encoded_at_start_up_and_never_again(encoders: Encoders) -> None:
    counting = CountingEncoders(encoders)
    handler = handler_of(counting, pets=PETS)
    assert len(counting.lengths) == 3
    # Labels of other callers push nothing out.
    for _ in range(2):
        assert ask(handler, event({"image_data": IMAGE, "classifier": "pets"}))[0] == 200
    assert (len(counting.lengths), counting.prepared) == (3, 0)


def test_what_the_start_up_has_no_time_for_is_encoded_by_the_first_call(encoders: Encoders) -> None:
    counting = CountingEncoders(encoders)
    handler = Handler(counting, classifiers={"pets": parse_classifier(PETS)}, start_ms=lambda: 0)  # type: ignore[arg-type]
    assert not counting.lengths
    for _ in range(2):
        assert ask(handler, event({"image_data": IMAGE, "classifier": "pets"}))[0] == 200
    assert len(counting.lengths) == 3


def test_the_log_of_a_start_names_the_labels_that_a_decision_never_names(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = {"labels": WORDS, "thresholds": dict.fromkeys(WORDS, 0.5)}
    for name, file in (("pets", PETS), ("whole", whole), ("plain", {"labels": WORDS})):
        (tmp_path / f"{name}.json").write_text(json.dumps(file))
    build(begin(DEMO, 1), classifiers=tmp_path)
    [record] = caplog.records
    assert 'Decisions of the classifier "pets" never name "a bird":' in record.getMessage()


def test_the_list_and_the_document_name_those_that_are_there(encoders: Encoders) -> None:
    head = learned(word_rows(encoders), multi_label=False, thresholds={"a dog": 0.5})
    handler = handler_of(encoders, pets=PETS, head=head)
    status, answer, _ = ask(handler, event(None, "GET", "/classifiers"))
    assert status == 200
    assert [one["name"] for one in answer["classifiers"]] == ["pets", "head"]
    assert answer["classifiers"][0] == {
        "name": "pets",
        "description": "Pets",
        "labels": WORDS,
        "categories": None,
        "combine": "sum",
        "templates": ["{}"],
        "multi_label": False,
        "negative_template": "no {}",
        "fit": None,
        "actions": ["review", "block"],
        "thresholds": PETS["thresholds"],
        "min_similarity": None,
        "without_threshold": [label for label in WORDS if label not in PETS["thresholds"]],
        "fitted": False,
        "learned": False,
        "scoring": "softmax",
    }
    assert (answer["classifiers"][1]["fitted"], answer["classifiers"][1]["learned"]) == (True, True)
    document = ask(handler, event(None, "GET", "/openapi.json"))[1]
    assert document["components"]["schemas"]["ClassifyRequest"]["properties"]["classifier"][
        "enum"
    ] == ["pets", "head"]
    (parameter,) = [
        one for one in document["paths"]["/"]["post"]["parameters"] if one["name"] == "classifier"
    ]
    assert parameter["schema"]["enum"] == ["pets", "head"]


def test_prompts_that_a_request_would_be_refused_for_stop_the_start(encoders: Encoders) -> None:
    with pytest.raises(
        ClassifierError, match=r"classifiers/pets\.json: .*are the same to the model"
    ):
        handler_of(encoders, pets={"labels": ["Cat", "cat "]})


def test_one_call_with_an_image_that_is_no_image_leaves_the_next_as_it_was(
    encoders: Encoders,
) -> None:
    handler = handler_of(encoders, pets=PETS)
    small = base64_of(encoded(soft_image(40, 30)))
    before = handler(event({"image_data": small, "classifier": "pets"}), Context())["body"]
    assert ask(handler, event({"image_data": "AAAA", "classifier": "pets"}))[0] == 415
    assert handler(event({"image_data": small, "classifier": "pets"}), Context())["body"] == before
