"""Classifiers by name, from the file to the answer, on the demo model."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from classifier.api.handler import Handler
from classifier.contract.bundle import read_manifest
from classifier.contract.classifiers.file import ClassifierError, parse_classifier
from classifier.contract.classifiers.fit import fitted_on
from classifier.contract.classifiers.folder import read_classifiers
from classifier.main import build
from classifier.model.encoders import Encoders
from classifier.model.scoring import probabilities, similarities
from classifier.start import begin
from tests.support.encoders import CountingEncoders
from tests.support.pictures import encoded, picture
from tests.support.requests import DEMO, ROOT, Context, ask, base64_of, event

MANIFEST = read_manifest(DEMO, verify_hashes=False)
PETS: dict[str, Any] = {
    "description": "Pets",
    "labels": ["a dog", "a cat", "a bird"],
    "actions": ["review", "block"],
    "thresholds": {"a dog": {"review": 0.2, "block": 0.9}, "a cat": {"block": 0.0}},
}
QUESTION = {key: value for key, value in PETS.items() if key != "description"}
IMAGE = base64_of((ROOT / "examples" / "images" / "dog.jpg").read_bytes())
WORDS = ["a dog", "a cat", "a bird"]


def learned(
    rows: np.ndarray[Any, Any], scale: float = MANIFEST.logit_scale, **more: Any
) -> dict[str, Any]:
    value = {"labels": WORDS, **more}
    vectors = base64.b64encode(rows.astype("<f4").tobytes()).decode()
    return value | {
        "fitted_on": fitted_on(MANIFEST, parse_classifier(value)).model_dump(),
        "head": {"vectors": vectors, "scale": scale},
    }


def word_rows(encoders: Encoders, words: list[str] = WORDS) -> np.ndarray[Any, Any]:
    from classifier.model.tokenizer import Tokenizer

    tokenizer = Tokenizer(DEMO, MANIFEST.text)
    return np.stack(
        encoders.encode_text(
            [list(tokenizer.encode(word, "labels", "The label")) for word in words]
        )
    )


def handler_of(encoders: Any, **files: dict[str, Any]) -> Handler:
    return Handler(
        encoders, classifiers={name: parse_classifier(value) for name, value in files.items()}
    )


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


def test_a_name_works_for_a_picture_as_the_body_for_many_and_for_an_embedding(
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


def test_a_picture_unlike_every_prompt_is_none_of_these(encoders: Encoders) -> None:
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


def test_a_learned_classifier_encodes_no_prompt_and_loads_no_text_encoder_until_words_come(
    tmp_path: Path, encoders: Encoders
) -> None:
    (tmp_path / "pets.json").write_text(
        json.dumps(learned(word_rows(encoders), thresholds={"a dog": 0.5}))
    )
    counting = CountingEncoders(Encoders.load(DEMO, threads=1, text=False))
    handler = Handler(counting, classifiers=read_classifiers(tmp_path, MANIFEST))  # type: ignore[arg-type]
    answer = ask(handler, event({"image_data": IMAGE, "classifier": "pets"}))[1]
    assert [one["name"] for one in answer["decision"]["labels"]] == ["a dog"]
    assert (counting.lengths, counting.prepared) == ([], 0)
    words = ask(handler, event({"image_data": IMAGE, "labels": WORDS}))[1]
    assert (len(counting.lengths), counting.prepared) == (3, 1)
    # A head of the words' own rows is the words' own answer, to the last bit.
    assert words["result"] == answer["result"]
    assert (
        ask(
            build(begin(DEMO, 1), classifiers=tmp_path),
            event({"image_data": IMAGE, "labels": WORDS}),
        )[1]
        == words
    )


@pytest.mark.parametrize(
    "more", [{}, {"multi_label": True}, {"multi_label": True, "negative_template": "nothing"}]
)
def test_a_heads_answer_is_numpys_on_the_same_embedding(
    encoders: Encoders, more: dict[str, Any]
) -> None:
    count = 3 if not more else 4 if "negative_template" in more else 6
    rows = np.random.default_rng(3).normal(size=(count, MANIFEST.dimension)).astype(np.float32)
    handler = handler_of(encoders, head=learned(rows, 3.5, thresholds={"a dog": 0.1}, **more))
    asked = {"image_data": IMAGE, "classifier": "head", "embedding": True, "details": True}
    answer = ask(handler, event(asked))[1]
    x = np.array(answer["embedding"], np.float64)
    logits = 3.5 * rows.astype(np.float64) @ x
    if more:
        negatives = logits[3:] if count == 6 else np.repeat(logits[3:], 3)
        expected = np.exp(logits[:3]) / (np.exp(logits[:3]) + np.exp(negatives))
    else:
        expected = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(list(answer["result"].values()), expected, atol=1e-6)
    cosines = rows.astype(np.float64) @ x / np.linalg.norm(rows.astype(np.float64), axis=1)
    np.testing.assert_allclose(list(answer["similarities"].values()), cosines, atol=1e-6)


def test_a_scoring_function_gives_the_answer_that_a_head_gives(encoders: Encoders) -> None:
    """What evaluates pictures elsewhere may use the package's own functions."""
    rows = word_rows(encoders).astype(np.float64)
    answer = ask(
        Handler(encoders), event({"image_data": IMAGE, "labels": WORDS, "embedding": True})
    )[1]
    logits = MANIFEST.logit_scale * similarities(rows, np.array(answer["embedding"], np.float32))
    groups = [[0], [1], [2]]
    shares = probabilities(
        logits, groups, multi_label=False, combine="sum", scoring="softmax", bias=None
    )
    assert shares == list(answer["result"].values())


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


def test_one_call_with_a_picture_that_is_no_picture_leaves_the_next_as_it_was(
    encoders: Encoders,
) -> None:
    handler = handler_of(encoders, pets=PETS)
    small = base64_of(encoded(picture(40, 30)))
    before = handler(event({"image_data": small, "classifier": "pets"}), Context())["body"]
    assert ask(handler, event({"image_data": "AAAA", "classifier": "pets"}))[0] == 415
    assert handler(event({"image_data": small, "classifier": "pets"}), Context())["body"] == before


def test_a_moderation_that_can_flag_nothing_is_refused_before_its_picture_is_read(
    encoders: Encoders,
) -> None:
    counting = CountingEncoders(encoders)
    handler = Handler(counting, classifiers={"pets": parse_classifier({"labels": WORDS})})  # type: ignore[arg-type]
    body = {
        "model": "pets",
        "input": [{"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{IMAGE}"}}],
    }
    status, answer, _ = ask(handler, event(body, resource="/v1/moderations"))
    assert (status, answer["error"]["param"], counting.images) == (400, "model", [])
    assert "has no thresholds" in answer["error"]["message"]


def test_pictures_to_embed_share_a_run(encoders: Encoders) -> None:
    counting = CountingEncoders(encoders, image=MANIFEST.image.model_copy(update={"max_batch": 2}))
    body = {
        "model": "demo",
        "input": [f"data:image/jpeg;base64,{IMAGE}"] * 3,
        "encoding_format": "float",
    }
    answer = ask(Handler(counting), event(body, resource="/v1/embeddings"))[1]  # type: ignore[arg-type]
    assert counting.images == [2, 1]
    own = ask(
        Handler(encoders),
        event({"image_data": IMAGE, "labels": ["a dog", "a cat"], "embedding": True}),
    )[1]["embedding"]
    assert [entry["embedding"] for entry in answer["data"]] == [own] * 3
