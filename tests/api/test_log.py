"""What is logged of requests and of internal errors."""

import logging

import numpy as np
import pytest
from numpy.typing import NDArray

from classifier.api.handler import Handler
from classifier.model.encoders import Encoders
from tests.support.requests import (
    LABELS,
    SMALL,
    ask,
    classify_event,
)


class BrokenEncoders:
    """Fails on the first image, then works."""

    def __init__(self, real: Encoders) -> None:
        self.tokenizer = real.tokenizer
        self.manifest = real.manifest
        self.encode_text = real.encode_text
        self._real = real
        self.failures = 1
        self.prepare_text = real.prepare_text

    def encode_images(self, squares: list[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        if self.failures:
            self.failures -= 1
            raise RuntimeError("secret path /var/task/inside")
        return self._real.encode_images(squares)


def test_an_internal_error_is_logged_but_not_shown_and_does_not_last(
    encoders: Encoders, caplog: pytest.LogCaptureFixture
) -> None:
    handler = Handler(BrokenEncoders(encoders))  # type: ignore[arg-type]
    status, body, _ = ask(handler, classify_event(SMALL, LABELS))
    assert (status, body) == (
        500,
        {"message": "Internal error, not caused by your request.", "code": "internal_error"},
    )
    assert "secret path" in caplog.text
    assert ask(handler, classify_event(SMALL, LABELS))[0] == 200


def test_the_log_has_one_line_per_request_and_never_a_label(
    handler: Handler, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    ask(handler, classify_event(SMALL, LABELS))
    ask(handler, classify_event(SMALL, ["Cat", "cat "]))
    good, bad = (record.__dict__ for record in caplog.records)
    assert (good["status"], good["labels"], good["cache_hits"], good["pixels"], good["format"]) == (
        200,
        3,
        0,
        4800,
        "JPEG",
    )
    assert (good["start"], bad["start"]) == ("cold", "warm")
    assert (bad["status"], bad["code"]) == (400, "invalid_request")
    assert not any(
        label.lower() in repr(record.__dict__).lower()
        for record in caplog.records
        for label in [*LABELS, '"cat']
    )
