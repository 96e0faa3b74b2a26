"""What each field of a request does, checked against arithmetic in the tests."""

import itertools
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from classifier.api.handler import Handler
from classifier.images.opened_image import open_image
from classifier.model.encoders import Encoders
from classifier.model.scoring import rank
from tests.support.encoders import CountingEncoders
from tests.support.golden import golden_demo
from tests.support.pictures import encoded, picture, png_header
from tests.support.requests import ROOT, Context, ask, base64_of, event

IMAGES = ROOT / "examples" / "images"
DOG = base64_of((IMAGES / "dog.jpg").read_bytes())
WIDE = base64_of(encoded(picture(150, 70), "JPEG"))
LABELS = ["a dog", "a cat", "a horse", "a car", "food"]
CATEGORIES = {"pets": ["a dog", "a cat"], "machines": ["a car"], "rest": ["a horse", "food"]}


def good(handler: Handler, **fields: Any) -> Any:
    image = {} if {"images", "image_embedding"} & fields.keys() else {"image_data": DOG}
    status, body, _ = ask(handler, event(image | fields))
    assert status == 200, body
    return body


def refused(handler: Handler, **fields: Any) -> tuple[int, str, str | None, str]:
    image = {} if {"images", "image_embedding"} & fields.keys() else {"image_data": DOG}
    status, body, _ = ask(handler, event(image | fields))
    return status, body["code"], body.get("field"), body["message"]


def exponentials(logits: dict[str, float]) -> dict[str, float]:
    weights = {name: math.exp(value - max(logits.values())) for name, value in logits.items()}
    return {name: weight / sum(weights.values()) for name, weight in weights.items()}


def assert_close(
    result: dict[str, float], expected: dict[str, float], within: float = 1e-9
) -> None:
    assert list(result) == list(expected)
    assert max(abs(result[name] - expected[name]) for name in expected) < within


def logits(handler: Handler, labels: list[str], **fields: Any) -> dict[str, float]:
    """Scaled cosines, computed from the `details` of one request per label."""
    logits = {}
    for label in labels:
        body = good(handler, labels=[label], details=True, **fields)
        logits[label] = body["model"]["logit_scale"] * body["similarities"][label]
    return logits


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


def test_an_embedding_replaces_its_image_to_the_last_bit(handler: Handler) -> None:
    first = good(handler, labels=LABELS, embedding=True)
    assert abs(math.hypot(*first["embedding"]) - 1) < 1e-6
    again = good(
        handler, image_embedding=first["embedding"], labels=LABELS, embedding=True, details=True
    )
    assert (again["result"], again["embedding"]) == (first["result"], first["embedding"])
    assert "image" not in again


def test_a_request_with_an_embedding_encodes_no_image(encoders: Encoders) -> None:
    counting = CountingEncoders(encoders)
    handler = Handler(counting)  # type: ignore[arg-type]
    vector = good(handler, labels=["a dog"], embedding=True)["embedding"]
    good(handler, image_embedding=vector, labels=["a cat"])
    assert counting.images == [1]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda v: v[:-1], "191 numbers; this model's embeddings have 192"),
        (lambda v: [2 * x for x in v], "length 2 instead of 1"),
        (lambda v: [0.0] * len(v), "length 0 instead"),
        (lambda v: [1e300] * len(v), "instead of 1"),
    ],
    ids=["length", "norm", "zero", "huge"],
)
def test_an_embedding_that_this_model_cannot_have_made_is_refused(
    handler: Handler, change: Any, expected: str
) -> None:
    vector = good(handler, labels=LABELS, embedding=True)["embedding"]
    status, code, name, message = refused(handler, image_embedding=change(vector), labels=LABELS)
    assert (status, code, name) == (400, "invalid_request", "image_embedding")
    assert expected in message


def test_details_give_similarities_model_and_image(handler: Handler, encoders: Encoders) -> None:
    body = good(handler, labels=["a dog", "a cat"], multi_label=True, top_k=1, details=True)
    assert list(body["similarities"]) == ["a dog", "a cat", "no a dog", "no a cat"]
    scale = encoders.manifest.logit_scale
    assert body["model"] == {
        "name": "demo",
        "tag": None,
        "fingerprint": encoders.manifest.fingerprint,
        "precision": encoders.manifest.precision,
        "logit_scale": scale,
    }
    assert body["image"] == {"format": "JPEG", "width": 440, "height": 440}
    positive, negative = (scale * body["similarities"][name] for name in ("a dog", "no a dog"))
    assert abs(body["result"]["a dog"] - 1 / (1 + math.exp(negative - positive))) < 1e-12


def test_fit_changes_the_embedding_and_tiles_are_averaged(
    handler: Handler, encoders: Encoders
) -> None:
    seen = {
        fit: good(handler, images=[WIDE], labels=LABELS, fit=fit, embedding=True)["results"][0]
        for fit in ("crop", "pad", "squash", "tiles")
    }
    assert len({json.dumps(one["embedding"]) for one in seen.values()}) == 4
    assert good(handler, images=[WIDE], labels=LABELS, embedding=True)["results"][0] == seen["crop"]
    squares = [
        encoded(Image.fromarray(square))
        for square in open_image(encoded(picture(150, 70), "JPEG"))
        .decode(encoders.manifest.image, "tiles")
        .squares
    ]
    parts = [
        good(handler, images=[base64_of(square)], labels=LABELS, embedding=True)["results"][0][
            "embedding"
        ]
        for square in squares
    ]
    total = np.sum(np.array(parts, np.float64), axis=0)
    np.testing.assert_allclose(seen["tiles"]["embedding"], total / np.linalg.norm(total), atol=1e-7)


@pytest.mark.parametrize(
    "fields",
    [{"labels": LABELS}, {"labels": LABELS, "multi_label": True}, {"categories": CATEGORIES}],
    ids=str,
)
@pytest.mark.parametrize("regions", [2, 3, 4])
def test_a_region_is_answered_like_its_crop_sent_alone_to_the_last_bit(
    handler: Handler, regions: int, fields: Any
) -> None:
    image = picture(150, 110)
    body = good(
        handler, images=[base64_of(encoded(image))], regions=regions, embedding=True, **fields
    )["results"][0]
    assert list(body) == ["result", "regions", "embedding"]
    for region in body["regions"]:
        left, top, width, height = (
            value * side for value, side in zip(region["box"], (150, 110) * 2, strict=True)
        )
        crop = image.crop((round(left), round(top), round(left + width), round(top + height)))
        assert crop.width == crop.height
        assert (
            good(handler, images=[base64_of(encoded(crop))], **fields)["results"][0]["result"]
            == region["result"]
        )
    assert len(body.pop("regions")) == regions**2
    assert (
        body
        == good(handler, images=[base64_of(encoded(image))], embedding=True, **fields)["results"][0]
    )


def test_with_max_a_picture_gets_the_best_of_the_whole_and_its_regions(handler: Handler) -> None:
    for fields in ({"labels": LABELS}, {"categories": CATEGORIES}):
        plain = good(handler, **fields, multi_label=True, regions=3, regions_combine="whole")
        best = good(handler, **fields, multi_label=True, regions=3, regions_combine="max")
        every = [plain["result"], *(region["result"] for region in plain["regions"])]
        assert (
            best["result"]
            == {name: max(one[name] for one in every) for name in plain["result"]}
            != plain["result"]
        )
        assert best["regions"] == plain["regions"]


def test_regions_have_the_names_that_the_result_keeps_in_its_order(handler: Handler) -> None:
    every = good(handler, labels=LABELS, regions=2)
    for limits in ({"top_k": 2}, {"min_probability": 0.001}, {"min_probability": 1}):
        kept = good(handler, labels=LABELS, regions=2, **limits)
        assert [list(region["result"]) for region in kept["regions"]] == [list(kept["result"])] * 4
        for one, other in zip(kept["regions"], every["regions"], strict=True):
            assert one["result"].items() <= other["result"].items()


def test_regions_share_runs_and_the_same_square_is_encoded_once(
    handler: Handler, encoders: Encoders
) -> None:
    counting = CountingEncoders(
        encoders, image=encoders.manifest.image.model_copy(update={"max_batch": 4})
    )
    long = base64_of(encoded(picture(160, 90)))
    asked = {"images": [DOG, "AAAA", long], "labels": LABELS, "regions": 2}
    results = good(Handler(counting), **asked)["results"]  # type: ignore[arg-type]
    assert counting.images == [4, 1, 3]
    assert results == good(handler, **asked)["results"]
    assert results[2]["regions"][:2] == results[2]["regions"][2:]


def test_regions_are_asked_for_in_the_url_of_an_image(handler: Handler) -> None:
    query = {
        "labels": LABELS,
        "regions": ["2"],
        "regions_combine": ["max"],
        "multi_label": ["true"],
    }
    request = event(
        DOG, headers={"Content-Type": "image/jpeg"}, multiValueQueryStringParameters=query
    ) | {"isBase64Encoded": True}
    assert ask(handler, request)[1] == good(
        handler, labels=LABELS, regions=2, regions_combine="max", multi_label=True
    )


def test_the_deadline_covers_regions(encoders: Encoders) -> None:
    class RunningOut(Context):
        def get_remaining_time_in_millis(self) -> int:
            return 29_000 if next(left) > 0 else 1000

    counting = CountingEncoders(
        encoders, image=encoders.manifest.image.model_copy(update={"max_batch": 4})
    )
    handler = Handler(counting)  # type: ignore[arg-type]
    good(handler, labels=LABELS)
    counting.images.clear()
    # Once a label and once for the decoding before; then the third of five runs is one too many.
    left = itertools.count(len(LABELS) + 2, -1)
    answer = handler(event({"image_data": DOG, "labels": LABELS, "regions": 4}), RunningOut())
    assert (answer["statusCode"], counting.images) == (503, [4, 4])
    assert "fewer regions" in answer["body"]


def test_a_bad_image_among_several_fails_only_its_own_entry(handler: Handler) -> None:
    cut = base64_of(encoded(picture(80, 60), "JPEG")[:700])
    body = good(
        handler,
        images=[DOG, "*", WIDE, base64_of(b"text"), cut, DOG],
        labels=LABELS,
        details=True,
        embedding=True,
    )
    entries = body["results"]
    assert [entry["error"]["code"] if "error" in entry else "" for entry in entries] == [
        "",
        "invalid_request",
        "",
        "unsupported_media_type",
        "invalid_image",
        "",
    ]
    assert [entry["error"]["field"] for entry in entries if "error" in entry] == [
        "images.1",
        "images.3",
        "images.4",
    ]
    assert entries[0] == entries[5] == good(handler, labels=LABELS, details=True, embedding=True)
    assert (
        entries[2]
        == ask(
            handler,
            event({"image_data": WIDE, "labels": LABELS, "details": True, "embedding": True}),
        )[1]
    )


def test_each_image_and_each_prompt_is_encoded_once_and_bad_requests_encode_nothing(
    encoders: Encoders,
) -> None:
    counting = CountingEncoders(encoders)
    handler = Handler(counting)  # type: ignore[arg-type]
    good(handler, images=[DOG, WIDE, DOG], labels=LABELS, multi_label=True)
    assert (counting.images, len(counting.lengths)) == ([1, 1, 1], 10)
    good(handler, images=["*"], labels=["never seen"])
    for fields in (
        {"images": ["AAAA"], "labels": ["a", "A "]},
        {"image_embedding": [1.0], "labels": ["new"]},
    ):
        refused(handler, **fields)
    assert (counting.images, len(counting.lengths)) == ([1, 1, 1], 10)


@pytest.mark.parametrize(("fit", "squares"), [("crop", [4, 1]), ("tiles", [4, 4, 1])])
def test_images_share_runs_and_keep_their_order(
    handler: Handler, encoders: Encoders, fit: str, squares: list[int]
) -> None:
    counting = CountingEncoders(
        encoders, image=encoders.manifest.image.model_copy(update={"max_batch": 4})
    )
    images = [DOG, WIDE, "AAAA", DOG, WIDE, DOG]
    results = good(Handler(counting), images=images, labels=LABELS, fit=fit)["results"]  # type: ignore[arg-type]
    assert counting.images == squares
    assert results == good(handler, images=images, labels=LABELS, fit=fit)["results"]


def test_a_model_trained_with_a_sigmoid_uses_its_own_scale_and_bias(encoders: Encoders) -> None:
    handler = Handler(CountingEncoders(encoders, scoring="sigmoid", logit_bias=-3.5))  # type: ignore[arg-type]
    scaled = logits(handler, LABELS)
    expected = {label: 1 / (1 + math.exp(3.5 - value)) for label, value in scaled.items()}
    assert_close(good(handler, labels=LABELS, multi_label=True)["result"], expected)
    assert_close(good(handler, labels=LABELS)["result"], exponentials(scaled))
    assert list(
        good(handler, labels=["a dog"], multi_label=True, details=True)["similarities"]
    ) == ["a dog"]
    status, code, name, message = refused(
        handler, labels=LABELS, multi_label=True, negative_template="no {}"
    )
    assert (status, code, name) == (400, "invalid_request", "negative_template")
    assert "has no meaning for this model" in message


def test_too_many_pixels_in_all_are_refused_before_decoding(handler: Handler) -> None:
    image = base64_of(png_header(9_000, 5_000))
    status, code, name, message = refused(handler, images=[image] * 3, labels=LABELS)
    assert (status, code, name) == (413, "too_large", "images")
    assert "135,000,000" in message
    alone = good(handler, images=[base64_of(png_header(9_000, 6_000)), WIDE], labels=LABELS)[
        "results"
    ]
    assert (alone[0]["error"]["code"], "result" in alone[1]) == ("too_large", True)


def test_a_request_that_would_run_out_of_time_is_refused_early(handler: Handler) -> None:
    good(handler, images=[WIDE], labels=LABELS)
    status, body, headers = ask(handler, event({"images": [WIDE] * 3, "labels": LABELS}), left=1000)
    assert (status, body["code"], headers["Retry-After"]) == (503, "out_of_time", "1")


@pytest.mark.parametrize(("checks", "encoded"), [(3, []), (5, []), (6, [4])])
def test_the_deadline_is_checked_after_every_decoding_and_before_every_run(
    encoders: Encoders, checks: int, encoded: list[int]
) -> None:
    class RunningOut(Context):
        def get_remaining_time_in_millis(self) -> int:
            return 29_000 if next(left) > 0 else 1000

    counting = CountingEncoders(
        encoders, image=encoders.manifest.image.model_copy(update={"max_batch": 4})
    )
    handler = Handler(counting)  # type: ignore[arg-type]
    good(handler, images=[WIDE], labels=LABELS)
    counting.images.clear()
    # Once a label before.
    left = itertools.count(len(LABELS) + checks, -1)
    answer = handler(event({"images": [WIDE] * 8, "labels": LABELS}), RunningOut())
    assert (answer["statusCode"], counting.images) == (503, encoded)


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


@given(
    st.lists(st.sampled_from([DOG, WIDE]), min_size=1, max_size=4),
    st.sampled_from(["crop", "pad", "squash", "tiles"]),
)
@settings(max_examples=25)
def test_several_images_are_answered_like_one_request_each(
    handler: Handler, images: list[str], fit: str
) -> None:
    together = good(handler, images=images, labels=LABELS, fit=fit)["results"]
    assert together == [
        ask(handler, event({"image_data": image, "labels": LABELS, "fit": fit}))[1]
        for image in images
    ]
