from collections.abc import Iterator
from typing import Any

import pytest

import client
from classifier.bulk import BulkHandler
from classifier.model.encoders import Encoders
from classifier.storage.bucket import Bucket
from tests.support.bulk_example import THRESHOLDS
from tests.support.images import encoded, soft_image
from tests.support.requests import ROOT
from tests.support.runs import BUCKET, Machine, aws, put


@pytest.fixture
def waits() -> list[float]:
    """The seconds that `backoff` would have waited."""
    return []


@pytest.fixture
def backoff(waits: list[float]) -> type[client.Backoff]:
    """Records waits instead of waiting."""

    class RecordingBackoff(client.Backoff):
        wait = staticmethod(waits.append)

    return RecordingBackoff


@pytest.fixture
def run(encoders: Encoders) -> Iterator[Any]:
    """A finished run named r."""
    with aws() as s3:
        for i in range(12):
            put(f"images/{i:02}.jpg", encoded(soft_image(60, 40, seed=i), "JPEG"))
        put("images/dog.jpg", (ROOT / "examples" / "images" / "dog.jpg").read_bytes())
        put("images/bad.jpg", b"no image")
        put("images/a.txt", b"text")
        Machine(s3, BulkHandler(encoders, Bucket(BUCKET, "images/"))).run(
            "r",
            {
                "prefix": "images/",
                "labels": ["a dog", "food"],
                "actions": ["keep"],
                "thresholds": THRESHOLDS,
                "batch_size": 5,
            },
        )
        yield s3
