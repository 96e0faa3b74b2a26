"""What a request's images, embeddings and deadline do."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from classifier.api.handler import Handler
from classifier.images.opened_image import open_image
from classifier.model.encoders import Encoders
from tests.support.encoders import CountingEncoders
from tests.support.engine import (
    DOG,
    LABELS,
    WIDE,
    RunningOut,
    good,
    refused,
)
from tests.support.images import encoded, png_header, soft_image
from tests.support.requests import ask, base64_of, event


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
        for square in open_image(encoded(soft_image(150, 70), "JPEG"))
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


def test_a_bad_image_among_several_fails_only_its_own_entry(handler: Handler) -> None:
    cut = base64_of(encoded(soft_image(80, 60), "JPEG")[:700])
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
    counting = CountingEncoders(
        encoders, image=encoders.manifest.image.model_copy(update={"max_batch": 4})
    )
    handler = Handler(counting)  # type: ignore[arg-type]
    good(handler, images=[WIDE], labels=LABELS)
    counting.images.clear()
    # Once a label before.
    answer = handler(
        event({"images": [WIDE] * 8, "labels": LABELS}), RunningOut(len(LABELS) + checks)
    )
    assert (answer["statusCode"], counting.images) == (503, encoded)


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
