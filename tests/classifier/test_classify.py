"""What each field of a request does, against arithmetic done here."""

import itertools
import json
import math
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from classifier.bundle import BundleManifest
from classifier.encoders import Encoders
from classifier.handler import Handler
from classifier.image import open_image
from classifier.schema import MAX_ANSWER_BYTES
from classifier.scoring import rank
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


def assert_close(found: dict[str, float], expected: dict[str, float], within: float = 1e-9) -> None:
    assert list(found) == list(expected)
    assert max(abs(found[name] - expected[name]) for name in expected) < within


def logits(handler: Handler, labels: list[str], **fields: Any) -> dict[str, float]:
    """Scaled cosines, from what `details` says of each label alone."""
    found = {}
    for label in labels:
        body = good(handler, labels=[label], details=True, **fields)
        found[label] = body["model"]["logit_scale"] * body["similarities"][label]
    return found


def golden_logits(prompts: list[str]) -> NDArray[np.float64]:
    """From open_clip's own embeddings of dog.jpg and the prompts."""
    golden = golden_demo()
    image = np.array(golden["images"]["dog.jpg"]["embedding"])
    texts = np.array([golden["labels"][prompt] for prompt in prompts])
    return np.array(golden["logit_scale"] * (texts @ image))


def test_the_first_form_is_answered_with_nothing_but_the_result(handler: Handler) -> None:
    body = good(handler, labels=LABELS)
    assert list(body) == ["result"]
    assert_close(body["result"], exponentials(logits(handler, LABELS)))


def test_multi_label_is_one_call_for_what_took_one_a_label_to_the_last_bit(handler: Handler) -> None:
    alone = {label: good(handler, labels=[label, f"no {label}"])["result"][label] for label in LABELS}
    assert good(handler, labels=LABELS, multi_label=True)["result"] == alone


def test_one_neutral_text_can_stand_against_all(handler: Handler) -> None:
    alone = {label: good(handler, labels=[label, "something else"])["result"][label] for label in LABELS}
    assert good(handler, labels=LABELS, multi_label=True, negative_template="something else")["result"] == alone


def test_a_negative_template_is_filled_and_goes_through_the_templates(handler: Handler) -> None:
    forms = {"templates": ["{}", "a photo of {}"]}
    alone = {label: good(handler, labels=[label, f"not {label}"], **forms)["result"][label] for label in LABELS}
    assert good(handler, labels=LABELS, multi_label=True, negative_template="not {}", **forms)["result"] == alone


def test_multi_label_agrees_with_open_clip(handler: Handler) -> None:
    present, absent = golden_logits(LABELS), golden_logits([f"no {label}" for label in LABELS])
    expected = dict(zip(LABELS, (1 / (1 + np.exp(absent - present))).tolist(), strict=True))
    assert_close(good(handler, labels=LABELS, multi_label=True)["result"], expected, within=0.05)


def test_templates_agree_with_open_clip(handler: Handler) -> None:
    golden = golden_demo()
    forms = ["{}", "a photo of {}"]
    means = np.array([sum(np.array(golden["labels"][form.format(label)]) for form in forms) for label in LABELS])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    scaled = golden["logit_scale"] * means @ np.array(golden["images"]["dog.jpg"]["embedding"])
    expected = exponentials(dict(zip(LABELS, scaled.tolist(), strict=True)))
    assert_close(good(handler, labels=LABELS, templates=forms)["result"], expected, within=0.05)


def test_a_category_gets_the_sum_of_its_prompts(handler: Handler) -> None:
    flat = good(handler, labels=[prompt for prompts in CATEGORIES.values() for prompt in prompts])["result"]
    expected = {name: sum(flat[prompt] for prompt in prompts) for name, prompts in CATEGORIES.items()}
    assert_close(good(handler, categories=CATEGORIES)["result"], expected)
    assert good(handler, categories=CATEGORIES, combine="sum") == good(handler, categories=CATEGORIES)


def test_with_max_more_prompts_are_no_advantage(handler: Handler) -> None:
    scaled = logits(handler, LABELS)
    expected = exponentials({name: max(scaled[prompt] for prompt in prompts) for name, prompts in CATEGORIES.items()})
    assert_close(good(handler, categories=CATEGORIES, combine="max")["result"], expected)


def test_a_category_judged_alone_gets_its_best_prompts(handler: Handler) -> None:
    each = good(handler, labels=LABELS, multi_label=True)["result"]
    expected = {name: max(each[prompt] for prompt in prompts) for name, prompts in CATEGORIES.items()}
    for fields in ({}, {"combine": "max"}):
        assert good(handler, categories=CATEGORIES, multi_label=True, **fields)["result"] == expected


def test_the_best_come_first_after_what_is_below_was_dropped(handler: Handler) -> None:
    every = good(handler, labels=LABELS)["result"]
    ranked = sorted(every.items(), key=lambda pair: -pair[1])
    assert list(good(handler, labels=LABELS, top_k=2)["result"].items()) == ranked[:2]
    least = ranked[2][1]
    assert list(good(handler, labels=LABELS, min_probability=least)["result"].items()) == ranked[:3]
    assert list(good(handler, labels=LABELS, min_probability=least, top_k=1)["result"].items()) == ranked[:1]
    assert good(handler, labels=LABELS, min_probability=1)["result"] == {}
    assert list(good(handler, labels=LABELS, top_k=99)["result"].items()) == ranked


def test_ties_keep_the_order_of_the_request() -> None:
    assert list(rank(["a", "b", "c", "d"], [0.2, 0.3, 0.2, 0.3], None, 3)) == ["b", "d", "a"]
    assert list(rank(["a", "b", "c"], [0.2, 0.3, 0.5], None, None)) == ["a", "b", "c"]


def test_an_embedding_stands_in_for_its_picture_bit_by_bit(handler: Handler) -> None:
    first = good(handler, labels=LABELS, embedding=True)
    assert abs(math.hypot(*first["embedding"]) - 1) < 1e-6
    again = good(handler, image_embedding=first["embedding"], labels=LABELS, embedding=True, details=True)
    assert (again["result"], again["embedding"]) == (first["result"], first["embedding"])
    assert "image" not in again


def test_a_new_question_about_an_embedding_encodes_no_picture(encoders: Encoders) -> None:
    counting = Counting(encoders)
    handler = Handler(counting)  # type: ignore[arg-type]
    vector = good(handler, labels=["a dog"], embedding=True)["embedding"]
    good(handler, image_embedding=vector, labels=["a cat"])
    assert counting.images == [1]


@pytest.mark.parametrize(
    ("change", "said"),
    [(lambda v: v[:-1], "191 numbers; this model's embeddings have 192"), (lambda v: [2 * x for x in v], "length 2 instead of 1"),
     (lambda v: [0.0] * len(v), "length 0 instead"), (lambda v: [1e300] * len(v), "instead of 1")],
    ids=["length", "norm", "zero", "huge"],
)  # fmt: skip
def test_an_embedding_that_this_model_cannot_have_made_is_refused(handler: Handler, change: Any, said: str) -> None:
    vector = good(handler, labels=LABELS, embedding=True)["embedding"]
    status, code, name, message = refused(handler, image_embedding=change(vector), labels=LABELS)
    assert (status, code, name) == (400, "invalid_request", "image_embedding")
    assert said in message


def test_details_say_what_the_answer_rests_on(handler: Handler, encoders: Encoders) -> None:
    body = good(handler, labels=["a dog", "a cat"], multi_label=True, top_k=1, details=True)
    assert list(body["similarities"]) == ["a dog", "a cat", "no a dog", "no a cat"]
    scale = encoders.manifest.logit_scale
    assert body["model"] == {"name": "demo", "tag": None, "precision": encoders.manifest.precision, "logit_scale": scale}
    assert body["image"] == {"format": "JPEG", "width": 440, "height": 440}
    present, absent = (scale * body["similarities"][name] for name in ("a dog", "no a dog"))
    assert abs(body["result"]["a dog"] - 1 / (1 + math.exp(absent - present))) < 1e-12


def test_fit_changes_what_is_seen_and_tiles_are_averaged(handler: Handler, encoders: Encoders) -> None:
    seen = {
        fit: good(handler, images=[WIDE], labels=LABELS, fit=fit, embedding=True)["results"][0]
        for fit in ("crop", "pad", "squash", "tiles")
    }
    assert len({json.dumps(one["embedding"]) for one in seen.values()}) == 4
    assert good(handler, images=[WIDE], labels=LABELS, embedding=True)["results"][0] == seen["crop"]
    squares = [
        encoded(Image.fromarray(square))
        for square in open_image(encoded(picture(150, 70), "JPEG")).pixels(encoders.manifest.image, "tiles")
    ]
    parts = [
        good(handler, images=[base64_of(square)], labels=LABELS, embedding=True)["results"][0]["embedding"] for square in squares
    ]
    total = np.sum(np.array(parts, np.float64), axis=0)
    np.testing.assert_allclose(seen["tiles"]["embedding"], total / np.linalg.norm(total), atol=1e-7)


def test_many_images_are_answered_one_by_one_and_a_bad_one_spoils_only_its_own(handler: Handler) -> None:
    cut = base64_of(encoded(picture(80, 60), "JPEG")[:700])
    body = good(handler, images=[DOG, "*", WIDE, base64_of(b"text"), cut, DOG], labels=LABELS, details=True, embedding=True)
    entries = body["results"]
    assert [entry["error"]["code"] if "error" in entry else "" for entry in entries] == [
        "", "invalid_request", "", "unsupported_media_type", "invalid_image", "",
    ]  # fmt: skip
    assert [entry["error"]["field"] for entry in entries if "error" in entry] == ["images.1", "images.3", "images.4"]
    assert entries[0] == entries[5] == good(handler, labels=LABELS, details=True, embedding=True)
    assert entries[2] == ask(handler, event({"image_data": WIDE, "labels": LABELS, "details": True, "embedding": True}))[1]


@dataclass
class Counting:
    """The real encoders, counting what they encode; settings may be replaced."""

    real: Encoders
    changed: dict[str, Any] = field(default_factory=dict)
    images: list[int] = field(default_factory=list)
    prompts: int = 0

    @property
    def folder(self) -> Any:
        return self.real.folder

    @property
    def manifest(self) -> BundleManifest:
        return self.real.manifest.model_copy(update=self.changed)

    def encode_images(self, squares: list[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        self.images.append(len(squares))
        return self.real.encode_images(squares)

    def encode_text(self, prompts: list[list[int]]) -> list[NDArray[np.float32]]:
        self.prompts += len(prompts)
        return self.real.encode_text(prompts)


def test_each_image_and_each_prompt_is_encoded_once_and_bad_requests_encode_nothing(encoders: Encoders) -> None:
    counting = Counting(encoders)
    handler = Handler(counting)  # type: ignore[arg-type]
    good(handler, images=[DOG, WIDE, DOG], labels=LABELS, multi_label=True)
    assert (counting.images, counting.prompts) == ([1, 1, 1], 10)
    good(handler, images=["*"], labels=["never seen"])
    for fields in ({"images": ["AAAA"], "labels": ["a", "A "]}, {"image_embedding": [1.0], "labels": ["new"]}):
        refused(handler, **fields)
    assert (counting.images, counting.prompts) == ([1, 1, 1], 10)


@pytest.mark.parametrize(("fit", "squares"), [("crop", [4, 1]), ("tiles", [4, 4, 1])])
def test_images_share_runs_and_keep_their_places(handler: Handler, encoders: Encoders, fit: str, squares: list[int]) -> None:
    counting = Counting(encoders, {"image": encoders.manifest.image.model_copy(update={"max_batch": 4})})
    images = [DOG, WIDE, "AAAA", DOG, WIDE, DOG]
    results = good(Handler(counting), images=images, labels=LABELS, fit=fit)["results"]  # type: ignore[arg-type]
    assert counting.images == squares
    assert results == good(handler, images=images, labels=LABELS, fit=fit)["results"]


def test_a_model_trained_with_a_sigmoid_judges_by_its_own_scale_and_bias(encoders: Encoders) -> None:
    handler = Handler(Counting(encoders, {"scoring": "sigmoid", "logit_bias": -3.5}))  # type: ignore[arg-type]
    scaled = logits(handler, LABELS)
    expected = {label: 1 / (1 + math.exp(3.5 - value)) for label, value in scaled.items()}
    assert_close(good(handler, labels=LABELS, multi_label=True)["result"], expected)
    assert_close(good(handler, labels=LABELS)["result"], exponentials(scaled))
    assert list(good(handler, labels=["a dog"], multi_label=True, details=True)["similarities"]) == ["a dog"]
    status, code, name, message = refused(handler, labels=LABELS, multi_label=True, negative_template="no {}")
    assert (status, code, name) == (400, "invalid_request", "negative_template")
    assert "has no meaning for this model" in message


LONG = "dog " * 74


@pytest.mark.parametrize(
    ("fields", "code", "name", "said"),
    [
        ({"labels": ["Cat", "dog", "cat "]}, "invalid_request", "labels.2", 'labels.0 "Cat" and labels.2 "cat "'),
        ({"categories": {"x": ["Cat"], "y": ["dog", "cat"]}}, "invalid_request", "categories.y.1", 'categories.x.0 "Cat"'),
        ({"labels": ["a", " "]}, "invalid_request", "labels.1", "empty without its white space"),
        ({"labels": ["a", LONG], "multi_label": True, "negative_template": "not even {}"}, "label_too_long", "labels.1", "76 tokens"),
        ({"labels": ["a", LONG], "templates": ["{}", "oh my {}"]}, "label_too_long", "labels.1", "The label in a template has 76"),
        ({"labels": ["a"], "multi_label": True, "negative_template": " "}, "invalid_request", "negative_template", "The text is empty"),
        ({"labels": ["a dog"], "multi_label": True, "negative_template": "A dog"}, "invalid_request", "labels.0", "are the same"),
        ({"labels": ["x"], "multi_label": True, "negative_template": "{}"}, "invalid_request", "labels.0", "are the same"),
        ({"labels": [f"l {i}" for i in range(21)], "templates": [f"t{i} {{}}" for i in range(100)]}, "too_many_prompts", None, "2,100"),
        ({"labels": [f"l {i}" for i in range(11)], "templates": [f"t{i} {{}}" for i in range(100)], "multi_label": True},
         "too_many_prompts", None, "2,200 prompts"),
        ({"labels": ["a", "x" * 1001]}, "label_too_long", "labels.1", "1001 characters"),
        ({"labels": [f"{i} {'x' * 900}" for i in range(400)]}, "too_many_prompts", None, "characters"),
        ({"labels": [f"{i}" + "\n" * 50 + "b" for i in range(20)], "templates": [f"{{}} {i}" for i in range(20)]},
         "too_many_prompts", None, "20,000 line breaks"),
        ({"images": ["AAAA"] * 64, "labels": [f"{'l' * 60} {i}" for i in range(1000)]}, "answer_too_large", None, "fit."),
        ({"images": ["AAAA"] * 64, "labels": [f"one label {i}" for i in range(1000)], "details": True}, "answer_too_large", None, "top_k"),
    ],
    ids=["twins", "twins across categories", "blank", "long negative", "long template", "blank negative", "neutral label", "no absence",
         "prompts", "negatives", "long text", "characters", "line breaks", "long answer", "detailed answer"],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused(
    handler: Handler, fields: dict[str, Any], code: str, name: str | None, said: str
) -> None:
    status, got, at, message = refused(handler, **fields)
    assert (status, got, at) == (400, code, name)
    assert said in message


def test_a_million_prompts_are_refused_before_any_is_read_or_made_longer(encoders: Encoders) -> None:
    counting = Counting(encoders)
    categories = {str(i): ["a"] * 1000 for i in range(1000)}
    fields = {"categories": categories, "multi_label": True, "negative_template": "x" * 990 + " {}"}
    began = time.perf_counter()
    status, code, _, message = refused(Handler(counting), **fields)  # type: ignore[arg-type]
    assert (status, code, counting.prompts) == (400, "too_many_prompts", 0)
    assert "1,000,000" in message
    assert time.perf_counter() - began < 10


def test_the_largest_answer_that_is_let_through_is_smaller_than_what_lambda_sends(handler: Handler) -> None:
    labels = [f"{'é' * 3} {i}" for i in range(1000)]
    tiny = base64_of(encoded(picture(8, 8)))
    count = next(
        n for n in range(64, 0, -1) if ask(handler, event({"images": ["*"] * n, "labels": labels, "embedding": True}))[0] == 200
    )
    answer = handler(event({"images": [tiny] * count, "labels": labels, "embedding": True}), Context())
    assert 0.3 * MAX_ANSWER_BYTES < len(json.dumps(answer)) < MAX_ANSWER_BYTES


def test_top_k_makes_a_large_answer_small_enough(handler: Handler) -> None:
    fields = {"images": ["AAAA"] * 64, "labels": [f"{'l' * 60} {i}" for i in range(1000)], "top_k": 5}
    assert len(good(handler, **fields)["results"]) == 64


def test_too_many_pixels_together_are_refused_from_the_headers(handler: Handler) -> None:
    image = base64_of(png_header(9_000, 5_000))
    status, code, name, message = refused(handler, images=[image] * 3, labels=LABELS)
    assert (status, code, name) == (413, "too_large", "images")
    assert "135,000,000" in message
    alone = good(handler, images=[base64_of(png_header(9_000, 6_000)), WIDE], labels=LABELS)["results"]
    assert (alone[0]["error"]["code"], "result" in alone[1]) == ("too_large", True)


def test_images_that_would_run_out_of_time_are_told_in_good_time(handler: Handler) -> None:
    good(handler, images=[WIDE], labels=LABELS)
    status, body, headers = ask(handler, event({"images": [WIDE] * 3, "labels": LABELS}), left=1000)
    assert (status, body["code"], headers["Retry-After"]) == (503, "out_of_time", "1")


@pytest.mark.parametrize(("looks", "encoded"), [(2, []), (4, []), (5, [4])])
def test_the_clock_is_looked_at_after_every_decoding_and_before_every_run(
    encoders: Encoders, looks: int, encoded: list[int]
) -> None:
    class RunningOut(Context):
        def get_remaining_time_in_millis(self) -> int:
            return 29_000 if next(left) > 0 else 1000

    counting = Counting(encoders, {"image": encoders.manifest.image.model_copy(update={"max_batch": 4})})
    handler = Handler(counting)  # type: ignore[arg-type]
    good(handler, images=[WIDE], labels=LABELS)
    counting.images.clear()
    # Once a label before.
    left = itertools.count(len(LABELS) + looks, -1)
    answer = handler(event({"images": [WIDE] * 8, "labels": LABELS}), RunningOut())
    assert (answer["statusCode"], counting.images) == (503, encoded)


WORDS = st.lists(
    st.sampled_from([f"{one} {two}" for one in ("red", "small", "old") for two in ("dog", "cat", "car", "star")]),
    min_size=2,
    unique=True,
)


@given(WORDS, st.randoms(use_true_random=False), st.booleans())
@settings(max_examples=25)
def test_permuting_labels_permutes_the_answer_to_the_last_bit(
    handler: Handler, labels: list[str], random: Any, multi: bool
) -> None:
    shuffled = random.sample(labels, len(labels))
    one, two = (
        good(handler, images=[WIDE], labels=some, multi_label=multi)["results"][0]["result"] for some in (labels, shuffled)
    )
    assert list(two) == shuffled
    assert one == two


@given(WORDS, st.lists(st.sampled_from(["{} ", " {}", "\t{}", "{}\n"]), unique=True))
@settings(max_examples=25)
def test_adding_templates_that_say_the_same_changes_nothing(handler: Handler, labels: list[str], more: list[str]) -> None:
    plain = good(handler, images=[WIDE], labels=labels)
    assert good(handler, images=[WIDE], labels=labels, templates=["{}", *more]) == plain


@given(st.lists(st.sampled_from([DOG, WIDE]), min_size=1, max_size=4), st.sampled_from(["crop", "pad", "squash", "tiles"]))
@settings(max_examples=25)
def test_images_are_answered_as_one_by_one(handler: Handler, images: list[str], fit: str) -> None:
    together = good(handler, images=images, labels=LABELS, fit=fit)["results"]
    assert together == [ask(handler, event({"image_data": one, "labels": LABELS, "fit": fit}))[1] for one in images]
