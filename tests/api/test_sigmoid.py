"""A model trained with SigLIP's loss through the whole API, in the demo model's place."""

import base64
import math
from typing import Any

import numpy as np
import pytest

from classifier.api.handler import Handler
from classifier.contract.classifiers.file import parse_classifier
from classifier.contract.classifiers.fit import fitted_on
from classifier.model.encoders import Encoders
from tests.support.classifiers import word_rows
from tests.support.encoders import CountingEncoders
from tests.support.engine import CATEGORIES, DOG, LABELS, assert_close, good, refused
from tests.support.requests import ask, event
from tests.support.sigmoid import BIAS, sigmoid_bundle

THRESHOLDS = {"a dog": 0.5, "a cat": 0.5}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Encoders:
    folder = tmp_path_factory.mktemp("bundles") / "sigmoid"
    return Encoders.load(sigmoid_bundle(folder), threads=1, verify_hashes=True)


def with_classifiers(encoders: Encoders, **files: dict[str, Any]) -> Handler:
    return Handler(
        encoders, classifiers={name: parse_classifier(file) for name, file in files.items()}
    )


@pytest.mark.parametrize(
    "question",
    [
        {"labels": LABELS},
        {"categories": CATEGORIES},
        {"categories": CATEGORIES, "combine": "max"},
        {"labels": LABELS, "thresholds": THRESHOLDS},
        {"labels": LABELS, "regions": 2, "top_k": 2},
    ],
    ids=str,
)
def test_which_of_these_is_a_softmax_as_with_every_model(
    question: dict[str, Any], own: Encoders, handler: Handler
) -> None:
    assert good(Handler(own), **question) == good(handler, **question)


def test_multi_label_is_the_sigmoid_of_its_logit_that_details_tell(own: Encoders) -> None:
    answer = good(Handler(own), labels=LABELS, multi_label=True, details=True)
    model = answer["model"]
    assert model["logit_bias"] == BIAS
    assert list(answer["similarities"]) == LABELS
    expected = {
        label: 1 / (1 + math.exp(-model["logit_scale"] * cosine - model["logit_bias"]))
        for label, cosine in answer["similarities"].items()
    }
    assert_close(answer["result"], expected)
    assert answer["result"]["a dog"] > 0.8 > 0.2 > answer["result"]["a car"]


def test_categories_and_decisions_are_made_of_these_probabilities(own: Encoders) -> None:
    handler = Handler(own)
    each = good(handler, labels=LABELS, multi_label=True)["result"]
    asked = {"multi_label": True, "thresholds": {"pets": 0.5, "rest": 0.999}}
    answer = good(handler, categories=CATEGORIES, **asked)
    assert answer["result"] == {
        name: max(each[prompt] for prompt in prompts) for name, prompts in CATEGORIES.items()
    }
    [reached] = answer["decision"]["labels"]
    assert (reached["name"], reached["probability"]) == ("pets", each["a dog"])
    alone = good(handler, labels=["a dog"], multi_label=True, thresholds={"a dog": 0.5})
    assert alone["result"] == {"a dog": each["a dog"]}


def test_negatives_are_refused_by_the_name_of_the_field(own: Encoders) -> None:
    asked = {"labels": LABELS, "multi_label": True, "negative_template": "something else"}
    status, code, field, message = refused(Handler(own), **asked)
    assert (status, code, field) == (400, "invalid_request", "negative_template")
    assert "judges each label alone; remove it" in message


def test_the_list_of_classifiers_says_what_a_probability_means(
    own: Encoders, encoders: Encoders
) -> None:
    files: dict[str, Any] = {
        "one": {"labels": LABELS},
        "each": {"labels": LABELS, "multi_label": True},
    }
    found = {}
    for name, model in (("softmax", encoders), ("sigmoid", own)):
        handler = with_classifiers(model, **files)
        listed = ask(handler, event(None, "GET", "/classifiers"))[1]["classifiers"]
        found[name] = [(one["scoring"], one["negative_template"]) for one in listed]
        # A caller may send the question as it is listed.
        sent = {key: listed[1][key] for key in ("labels", "multi_label", "negative_template")}
        assert good(handler, **sent) == good(handler, classifier="each")
    assert found == {
        "softmax": [("softmax", "no {}"), ("negatives", "no {}")],
        "sigmoid": [("softmax", "no {}"), ("sigmoid", None)],
    }


def test_a_learned_head_has_no_negatives_and_the_models_bias(own: Encoders) -> None:
    question = {"labels": ["a dog", "a cat"], "multi_label": True}
    rows = word_rows(own, ["a dog", "a cat"])
    head = {
        "vectors": base64.b64encode(rows.astype("<f4").tobytes()).decode(),
        "scale": own.manifest.logit_scale,
    }
    fitted = fitted_on(own.manifest, parse_classifier(question)).model_dump()
    handler = with_classifiers(own, head={**question, "head": head, "fitted_on": fitted})
    assert good(handler, classifier="head") == good(handler, **question)


def test_openais_routes_answer_with_its_probabilities_and_its_embeddings(own: Encoders) -> None:
    file = {"labels": LABELS, "multi_label": True, "thresholds": THRESHOLDS}
    handler = with_classifiers(own, pets=file)
    uri = f"data:image/jpeg;base64,{DOG}"
    body = {"model": "pets", "input": [{"type": "image_url", "image_url": {"url": uri}}]}
    [result] = ask(handler, event(body, resource="/v1/moderations"))[1]["results"]
    assert result["category_scores"] == good(handler, classifier="pets")["result"]
    assert result["categories"]["a dog"] and not result["categories"]["a cat"]
    sent = {"model": own.manifest.name, "input": ["a dog", uri]}
    answer = ask(handler, event(sent, resource="/v1/embeddings"))[1]
    text, image = (np.array(entry["embedding"]) for entry in answer["data"])
    logit = own.manifest.logit_scale * (text @ image) + BIAS
    assert result["category_scores"]["a dog"] == pytest.approx(1 / (1 + math.exp(-logit)), abs=1e-6)


def test_tokens_are_counted_without_those_that_the_model_adds(encoders: Encoders) -> None:
    """SigLIP's texts have none at the start."""
    text = encoders.manifest.text.model_copy(update={"start_ids": []})
    counting = CountingEncoders(encoders, text=text)
    counting.tokenizer = type(encoders.tokenizer)(encoders.folder, text)
    body = {"model": "demo", "input": ["a dog", "cat"]}
    answer = ask(Handler(counting), event(body, resource="/v1/embeddings"))[1]  # type: ignore[arg-type]
    assert answer["usage"]["total_tokens"] == 3
