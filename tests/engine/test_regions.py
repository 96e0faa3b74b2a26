"""Regions of an image, and their answers."""

from typing import Any

import pytest

from classifier.api.handler import Handler
from classifier.model.encoders import Encoders
from tests.support.encoders import CountingEncoders
from tests.support.engine import (
    CATEGORIES,
    DOG,
    LABELS,
    RunningOut,
    good,
)
from tests.support.images import encoded, soft_image
from tests.support.requests import ask, base64_of, event


@pytest.mark.parametrize(
    "fields",
    [{"labels": LABELS}, {"labels": LABELS, "multi_label": True}, {"categories": CATEGORIES}],
    ids=str,
)
@pytest.mark.parametrize("regions", [2, 3, 4])
def test_a_region_is_answered_like_its_crop_sent_alone_to_the_last_bit(
    handler: Handler, regions: int, fields: Any
) -> None:
    image = soft_image(150, 110)
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


def test_with_max_an_image_gets_the_best_of_the_whole_and_its_regions(handler: Handler) -> None:
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
    long = base64_of(encoded(soft_image(160, 90)))
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
    counting = CountingEncoders(
        encoders, image=encoders.manifest.image.model_copy(update={"max_batch": 4})
    )
    handler = Handler(counting)  # type: ignore[arg-type]
    good(handler, labels=LABELS)
    counting.images.clear()
    # Once a label and once for the decoding before; then the third of five runs is one too many.
    answer = handler(
        event({"image_data": DOG, "labels": LABELS, "regions": 4}), RunningOut(len(LABELS) + 2)
    )
    assert (answer["statusCode"], counting.images) == (503, [4, 4])
    assert "fewer regions" in answer["body"]
