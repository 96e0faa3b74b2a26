"""Labels, categories, negatives and templates, checked against arithmetic and open_clip."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from classifier.api.handler import Handler
from classifier.model.scoring import rank
from tests.support.engine import (
    CATEGORIES,
    LABELS,
    WIDE,
    assert_close,
    exponentials,
    good,
    logits,
)
from tests.support.golden import golden_demo


def golden_logits(prompts: list[str]) -> NDArray[np.float64]:
    """From open_clip's own embeddings of dog.jpg and the prompts."""
    golden = golden_demo()
    image = np.array(golden["images"]["dog.jpg"]["embedding"])
    texts = np.array([golden["labels"][prompt] for prompt in prompts])
    return np.array(golden["logit_scale"] * (texts @ image))


def test_a_plain_request_is_answered_with_the_result_alone(handler: Handler) -> None:
    body = good(handler, labels=LABELS)
    assert list(body) == ["result"]
    assert_close(body["result"], exponentials(logits(handler, LABELS)))


def test_multi_label_equals_one_request_per_label_to_the_last_bit(handler: Handler) -> None:
    alone = {
        label: good(handler, labels=[label, f"no {label}"])["result"][label] for label in LABELS
    }
    assert good(handler, labels=LABELS, multi_label=True)["result"] == alone


def test_one_neutral_text_can_be_the_negative_of_all_labels(handler: Handler) -> None:
    alone = {
        label: good(handler, labels=[label, "something else"])["result"][label] for label in LABELS
    }
    assert (
        good(handler, labels=LABELS, multi_label=True, negative_template="something else")["result"]
        == alone
    )


def test_a_negative_template_is_filled_and_goes_through_the_templates(handler: Handler) -> None:
    forms = {"templates": ["{}", "a photo of {}"]}
    alone = {
        label: good(handler, labels=[label, f"not {label}"], **forms)["result"][label]
        for label in LABELS
    }
    assert (
        good(handler, labels=LABELS, multi_label=True, negative_template="not {}", **forms)[
            "result"
        ]
        == alone
    )


def test_multi_label_agrees_with_open_clip(handler: Handler) -> None:
    positive = golden_logits(LABELS)
    negative = golden_logits([f"no {label}" for label in LABELS])
    expected = dict(zip(LABELS, (1 / (1 + np.exp(negative - positive))).tolist(), strict=True))
    assert_close(good(handler, labels=LABELS, multi_label=True)["result"], expected, within=0.05)


def test_templates_agree_with_open_clip(handler: Handler) -> None:
    golden = golden_demo()
    forms = ["{}", "a photo of {}"]
    means = np.array(
        [sum(np.array(golden["labels"][form.format(label)]) for form in forms) for label in LABELS]
    )
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    scaled = golden["logit_scale"] * means @ np.array(golden["images"]["dog.jpg"]["embedding"])
    expected = exponentials(dict(zip(LABELS, scaled.tolist(), strict=True)))
    assert_close(good(handler, labels=LABELS, templates=forms)["result"], expected, within=0.05)


def test_a_category_gets_the_sum_of_its_prompts(handler: Handler) -> None:
    flat = good(handler, labels=[prompt for prompts in CATEGORIES.values() for prompt in prompts])[
        "result"
    ]
    expected = {
        name: sum(flat[prompt] for prompt in prompts) for name, prompts in CATEGORIES.items()
    }
    assert_close(good(handler, categories=CATEGORIES)["result"], expected)
    assert good(handler, categories=CATEGORIES, combine="sum") == good(
        handler, categories=CATEGORIES
    )


def test_with_max_more_prompts_are_no_advantage(handler: Handler) -> None:
    scaled = logits(handler, LABELS)
    expected = exponentials(
        {name: max(scaled[prompt] for prompt in prompts) for name, prompts in CATEGORIES.items()}
    )
    assert_close(good(handler, categories=CATEGORIES, combine="max")["result"], expected)


def test_with_multi_label_a_category_gets_the_probability_of_its_best_prompt(
    handler: Handler,
) -> None:
    each = good(handler, labels=LABELS, multi_label=True)["result"]
    expected = {
        name: max(each[prompt] for prompt in prompts) for name, prompts in CATEGORIES.items()
    }
    for fields in ({}, {"combine": "max"}):
        assert (
            good(handler, categories=CATEGORIES, multi_label=True, **fields)["result"] == expected
        )


def test_min_probability_and_top_k_keep_the_best_in_order(handler: Handler) -> None:
    every = good(handler, labels=LABELS)["result"]
    ranked = sorted(every.items(), key=lambda pair: -pair[1])
    assert list(good(handler, labels=LABELS, top_k=2)["result"].items()) == ranked[:2]
    minimum = ranked[2][1]
    assert (
        list(good(handler, labels=LABELS, min_probability=minimum)["result"].items()) == ranked[:3]
    )
    assert (
        list(good(handler, labels=LABELS, min_probability=minimum, top_k=1)["result"].items())
        == ranked[:1]
    )
    assert good(handler, labels=LABELS, min_probability=1)["result"] == {}
    assert list(good(handler, labels=LABELS, top_k=99)["result"].items()) == ranked


def test_ties_keep_the_order_of_the_request() -> None:
    assert list(rank(["a", "b", "c", "d"], [0.2, 0.3, 0.2, 0.3], None, 3)) == ["b", "d", "a"]
    assert list(rank(["a", "b", "c"], [0.2, 0.3, 0.5], None, None)) == ["a", "b", "c"]


WORDS = st.lists(
    st.sampled_from(
        [
            f"{adjective} {noun}"
            for adjective in ("red", "small", "old")
            for noun in ("dog", "cat", "car", "star")
        ]
    ),
    min_size=2,
    unique=True,
)


@given(WORDS, st.randoms(use_true_random=False), st.booleans())
@settings(max_examples=25)
def test_permuting_labels_permutes_the_answer_to_the_last_bit(
    handler: Handler, labels: list[str], random: Any, multi: bool
) -> None:
    shuffled = random.sample(labels, len(labels))
    first, second = (
        good(handler, images=[WIDE], labels=texts, multi_label=multi)["results"][0]["result"]
        for texts in (labels, shuffled)
    )
    assert list(second) == shuffled
    assert first == second


@given(WORDS, st.lists(st.sampled_from(["{} ", " {}", "\t{}", "{}\n"]), unique=True))
@settings(max_examples=25)
def test_adding_templates_that_are_the_same_to_the_model_changes_nothing(
    handler: Handler, labels: list[str], more: list[str]
) -> None:
    plain = good(handler, images=[WIDE], labels=labels)
    assert good(handler, images=[WIDE], labels=labels, templates=["{}", *more]) == plain
