import time
from typing import Any

import pytest

from classifier.contract.errors import ApiError
from classifier.contract.request.parsing import parse_json
from classifier.engine.context import RequestContext
from classifier.engine.prompt_cache import PromptCache
from classifier.engine.prompts import PromptSet, make_prompt_set
from classifier.model.encoders import Encoders
from tests.support.encoders import CountingEncoders

LONG = "dog " * 74


def prompt_set(encoders: Encoders | CountingEncoders, **fields: Any) -> PromptSet:
    image = {} if "images" in fields else {"image_data": "AAAA"}
    cache = PromptCache(encoders)
    return make_prompt_set(
        parse_json(image | fields), cache, encoders.manifest, RequestContext(lambda: 29_000)
    )


def error(encoders: Encoders | CountingEncoders, **fields: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        prompt_set(encoders, **fields)
    return caught.value


@pytest.mark.parametrize(
    ("fields", "names", "groups", "positives", "negatives"),
    [
        ({"labels": ["dog", "cat"]}, ["dog", "cat"], [[0], [1]], ["dog", "cat"], []),
        (
            {"labels": ["dog", "cat"], "multi_label": True},
            ["dog", "cat"],
            [[0], [1]],
            ["dog", "cat"],
            ["no dog", "no cat"],
        ),
        (
            {"labels": ["dog", "cat"], "multi_label": True, "negative_template": "nothing"},
            ["dog", "cat"],
            [[0], [1]],
            ["dog", "cat"],
            ["nothing"],
        ),
        (
            {"categories": {"pets": ["dog", "cat"], "food": ["pizza"]}},
            ["pets", "food"],
            [[0, 1], [2]],
            ["dog", "cat", "pizza"],
            [],
        ),
    ],
    ids=["labels", "a negative for each", "one negative for all", "categories"],
)
def test_labels_and_categories_become_prompts(
    encoders: Encoders,
    fields: dict[str, Any],
    names: list[str],
    groups: list[list[int]],
    positives: list[str],
    negatives: list[str],
) -> None:
    result = prompt_set(encoders, **fields)
    assert (list(result.names), [list(group) for group in result.groups]) == (names, groups)
    assert [prompt.text for prompt in result.positives] == positives
    assert [prompt.text for prompt in result.negatives] == negatives


@pytest.mark.parametrize(
    ("fields", "code", "field", "expected"),
    [
        (
            {"labels": ["Cat", "dog", "cat "]},
            "invalid_request",
            "labels.2",
            'labels.0 "Cat" and labels.2 "cat "',
        ),
        (
            {"categories": {"x": ["Cat"], "y": ["dog", "cat"]}},
            "invalid_request",
            "categories.y.1",
            'categories.x.0 "Cat"',
        ),
        ({"labels": ["a", " "]}, "invalid_request", "labels.1", "is empty"),
        (
            {"labels": ["a", LONG], "multi_label": True, "negative_template": "not even {}"},
            "label_too_long",
            "labels.1",
            "76 tokens",
        ),
        (
            {"labels": ["a", LONG], "templates": ["{}", "oh my {}"]},
            "label_too_long",
            "labels.1",
            "The label in a template has 76",
        ),
        (
            {"labels": ["a"], "multi_label": True, "negative_template": " "},
            "invalid_request",
            "negative_template",
            "The text is empty",
        ),
        (
            {"labels": ["a dog"], "multi_label": True, "negative_template": "A dog"},
            "invalid_request",
            "labels.0",
            "are the same",
        ),
        (
            {"labels": ["x"], "multi_label": True, "negative_template": "{}"},
            "invalid_request",
            "labels.0",
            "are the same",
        ),
        (
            {
                "labels": [f"l {i}" for i in range(21)],
                "templates": [f"t{i} {{}}" for i in range(100)],
            },
            "too_many_prompts",
            None,
            "2,100",
        ),
        (
            {
                "labels": [f"l {i}" for i in range(11)],
                "templates": [f"t{i} {{}}" for i in range(100)],
                "multi_label": True,
            },
            "too_many_prompts",
            None,
            "2,200 prompts",
        ),
        ({"labels": ["a", "x" * 1001]}, "label_too_long", "labels.1", "1001 characters"),
        (
            {"labels": [f"{i} {'x' * 900}" for i in range(400)]},
            "too_many_prompts",
            None,
            "characters",
        ),
        (
            {
                "labels": [f"{i}" + "\n" * 50 + "b" for i in range(20)],
                "templates": [f"{{}} {i}" for i in range(20)],
            },
            "too_many_prompts",
            None,
            "20,000 line breaks",
        ),
        (
            {"images": ["AAAA"] * 64, "labels": [f"{'l' * 60} {i}" for i in range(1000)]},
            "answer_too_large",
            None,
            "fit.",
        ),
        (
            {
                "images": ["AAAA"] * 11,
                "regions": 4,
                "labels": [f"one label {i}" for i in range(1000)],
            },
            "answer_too_large",
            None,
            "fewer regions",
        ),
        (
            {
                "images": ["AAAA"] * 64,
                "labels": [f"one label {i}" for i in range(1000)],
                "details": True,
            },
            "answer_too_large",
            None,
            "top_k",
        ),
    ],
    ids=[
        "same labels",
        "same prompt in two categories",
        "blank label",
        "long negative",
        "long template",
        "blank negative",
        "label equal to the shared negative",
        "label equal to its negative",
        "too many prompts",
        "too many with negatives",
        "long label",
        "characters",
        "line breaks",
        "answer too large",
        "answer with regions too large",
        "detailed answer too large",
    ],
)
def test_prompts_that_cannot_be_answered_are_refused(
    encoders: Encoders, fields: dict[str, Any], code: str, field: str | None, expected: str
) -> None:
    err = error(encoders, **fields)
    assert (err.status, err.code, err.field) == (400, code, field)
    assert expected in err.message


def test_a_million_prompts_are_refused_before_any_is_tokenized(encoders: Encoders) -> None:
    categories = {str(i): ["a"] * 1000 for i in range(1000)}
    start = time.perf_counter()
    err = error(
        encoders, categories=categories, multi_label=True, negative_template="x" * 990 + " {}"
    )
    assert (err.status, err.code) == (400, "too_many_prompts")
    assert "1,000,000" in err.message
    assert time.perf_counter() - start < 10


def test_top_k_makes_a_large_answer_small_enough(encoders: Encoders) -> None:
    labels = [f"{'l' * 60} {i}" for i in range(1000)]
    assert len(prompt_set(encoders, images=["AAAA"] * 64, labels=labels, top_k=5).positives) == 1000


def test_checking_prompts_encodes_none(encoders: Encoders) -> None:
    counting = CountingEncoders(encoders)
    prompt_set(counting, labels=["a dog", "a cat"], multi_label=True)
    error(counting, labels=["a dog", "A dog"])
    assert counting.lengths == []
