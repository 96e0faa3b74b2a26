"""The largest answers, against what Lambda can send."""

import json

from classifier.api.handler import Handler
from classifier.contract.limits import MAX_ANSWER_BYTES
from tests.support.images import encoded, soft_image
from tests.support.requests import Context, ask, base64_of, event


def test_the_largest_answer_that_is_allowed_fits_what_lambda_can_send(handler: Handler) -> None:
    labels = [f"{'é' * 3} {i}" for i in range(1000)]
    tiny = base64_of(encoded(soft_image(8, 8)))
    count = next(
        n
        for n in range(64, 0, -1)
        if ask(handler, event({"images": ["*"] * n, "labels": labels, "embedding": True}))[0] == 200
    )
    answer = handler(
        event({"images": [tiny] * count, "labels": labels, "embedding": True}), Context()
    )
    assert 0.3 * MAX_ANSWER_BYTES < len(json.dumps(answer)) < MAX_ANSWER_BYTES


def test_the_largest_answer_with_regions_fits_what_lambda_can_send(handler: Handler) -> None:
    labels = [f"{'é' * 3} {i}" for i in range(1000)]
    tiny = base64_of(encoded(soft_image(31, 23)))
    asked = {"labels": labels, "regions": 4}
    count = next(
        n for n in range(11, 0, -1) if ask(handler, event(asked | {"images": ["*"] * n}))[0] == 200
    )
    answer = handler(event(asked | {"images": [tiny] * count}), Context())
    assert 0.3 * MAX_ANSWER_BYTES < len(json.dumps(answer)) < MAX_ANSWER_BYTES
