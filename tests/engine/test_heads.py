"""Learned classifiers: their heads' answers, and the text encoder that they don't need."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from classifier.api.handler import Handler
from classifier.contract.classifiers.folder import read_classifiers
from classifier.main import build
from classifier.model.encoders import Encoders
from classifier.model.scoring import probabilities, similarities
from classifier.start import begin
from tests.support.classifiers import IMAGE, MANIFEST, WORDS, handler_of, learned, word_rows
from tests.support.encoders import CountingEncoders
from tests.support.requests import DEMO, ask, event


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
    """What evaluates images elsewhere may use the package's own functions."""
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
