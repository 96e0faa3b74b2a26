"""Local scores against the API's own answers."""

import base64
from typing import Any

import numpy as np
import pytest

from classifier.api.handler import Handler
from classifier.contract.classifiers.file import ClassifierFile, parse_classifier
from classifier.contract.classifiers.fit import fitted_on, head_rows
from classifier.engine.prompt_cache import PromptCache
from classifier.engine.registry import Registry
from classifier.model.encoders import Encoders
from tests.support.requests import DEMO, ROOT, ask, base64_of, event
from tools.evaluate.scores import Bundle, score

IMAGES = sorted((ROOT / "examples" / "images").iterdir())
QUESTIONS: dict[str, dict[str, Any]] = {
    "labels": {"labels": ["a dog", "a pizza", "a star"]},
    "templates": {
        "labels": ["a dog", "a pizza"],
        "templates": ["a photo of {}", "{} on a plain background"],
    },
    "several-labels": {"labels": ["a dog", "a pizza"], "multi_label": True},
    "one-negative": {
        "labels": ["a dog", "a pizza"],
        "multi_label": True,
        "negative_template": "something else",
    },
    "sum": {"categories": {"animals": ["a dog", "a cat"], "food": ["a pizza"]}},
    "max": {"categories": {"animals": ["a dog", "a cat"], "food": ["a pizza"]}, "combine": "max"},
}


def with_head(question: dict[str, Any], encoders: Encoders) -> ClassifierFile:
    file = parse_classifier(question)
    shape = head_rows(file, encoders.manifest), encoders.manifest.dimension
    vectors = np.random.default_rng(1).normal(size=shape).astype("<f4")
    head = {"vectors": base64.b64encode(vectors.tobytes()).decode(), "scale": 3.5}
    return parse_classifier(
        question | {"head": head, "fitted_on": fitted_on(encoders.manifest, file).model_dump()}
    )


@pytest.mark.parametrize("learned", [False, True], ids=["words", "head"])
@pytest.mark.parametrize("name", QUESTIONS)
def test_local_scores_are_the_apis(name: str, learned: bool, encoders: Encoders) -> None:
    file = with_head(QUESTIONS[name], encoders) if learned else parse_classifier(QUESTIONS[name])
    handler = Handler(encoders, classifiers={name: file})
    answers = [
        ask(
            handler,
            event(
                {
                    "image_data": base64_of(path.read_bytes()),
                    "classifier": name,
                    "embedding": True,
                    "details": True,
                }
            ),
        )[1]
        for path in IMAGES
    ]
    embeddings = np.array([answer["embedding"] for answer in answers], np.float32)
    prepared = Registry({name: file}, PromptCache(encoders), encoders.manifest, lambda: 60_000)
    found = score(prepared, name, encoders.manifest, embeddings)
    assert found.names == list(file.labels or file.categories or ())
    expected = [[answer["result"][label] for label in found.names] for answer in answers]
    assert np.abs(found.probabilities - expected).max() < 1e-6
    positives = [
        *(file.labels or ()),
        *(prompt for prompts in (file.categories or {}).values() for prompt in prompts),
    ]
    largest = [max(answer["similarities"][prompt] for prompt in positives) for answer in answers]
    assert np.abs(found.largest - largest).max() < 1e-6


def test_no_images_have_no_scores() -> None:
    bundle = Bundle(DEMO, 1)
    found = score(
        bundle.prepare({"a": parse_classifier(QUESTIONS["labels"])}),
        "a",
        bundle.manifest,
        np.empty((0, 192), np.float32),
    )
    assert (found.probabilities.shape, found.largest.shape) == ((0, 3), (0,))
