"""What is not an image, what fails, and what there is no time for."""

from typing import Any

import pytest

from classifier.bulk import BulkHandler
from classifier.model.encoders import Encoders
from classifier.storage.bucket import Bucket
from tests.support.runs import BUCKET
from tests.support.uploads import DOG, Bus, handler_of, lines, send, tags, upload


def test_a_damaged_upload_is_a_line_and_an_event_with_its_error_and_no_failure(
    s3: Any, bulk: BulkHandler, bus: Bus
) -> None:
    assert (
        send(
            bulk,
            upload(s3, "images/a.jpg", b"no image"),
            upload(s3, "images/notes.txt", b"text"),
        )
        == []
    )
    (line,) = lines(s3)
    assert (line["error"]["code"], bus.details[0]["error"]["code"]) == (
        "unsupported_media_type",
    ) * 2
    assert tags(s3, "images/a.jpg") == {}


def test_a_deleted_upload_is_done(s3: Any, bulk: BulkHandler, bus: Bus) -> None:
    record = upload(s3, "images/a.jpg", DOG)
    s3.delete_object(Bucket=BUCKET, Key="images/a.jpg")
    assert (send(bulk, record), lines(s3), bus.details) == ([], [], [])


@pytest.mark.parametrize("body", ["", "{", "[]", "{}", '{"detail": {"object": {"key": 1}}}'])
def test_a_message_that_is_no_event_goes_back_alone(s3: Any, bulk: BulkHandler, body: str) -> None:
    assert send(bulk, {"messageId": "odd", "body": body}, upload(s3, "images/a.jpg", DOG)) == [
        "odd"
    ]
    assert len(lines(s3)) == 1


class Failing(Bucket):
    """S3 fails for one key, when it is read, written or tagged."""

    broken = "read"

    def read(self, item: Any) -> Any:
        if self.broken == "read" and item.key == "images/bad.jpg":
            raise ConnectionError
        return super().read(item)

    def put(self, key: str, body: bytes, content_type: str = "application/jsonl") -> None:
        if self.broken == "put" and b"images/bad.jpg" in body:
            raise ConnectionError
        super().put(key, body, content_type)

    def tag(self, item: Any, tags: dict[str, str]) -> None:
        if self.broken == "tag" and item.key == "images/bad.jpg":
            raise ConnectionError
        super().tag(item, tags)


@pytest.mark.parametrize("broken", ["read", "put", "tag"])
def test_what_failed_goes_back_alone_and_succeeds_later(
    s3: Any, encoders: Encoders, bus: Bus, broken: str
) -> None:
    bucket = Failing(BUCKET, "images/")
    bucket.broken = broken
    bulk = handler_of(encoders, bus, bucket)
    records = [
        upload(s3, f"images/{name}.jpg", DOG + name.encode()) for name in ("good", "bad", "other")
    ]
    assert send(bulk, *records) == ["images/bad.jpg"]
    assert sorted(detail["key"] for detail in bus.details) == [
        "images/good.jpg",
        "images/other.jpg",
    ]
    bucket.broken = "nothing"
    assert send(bulk, records[1]) == []
    assert sorted(line["key"] for line in lines(s3)) == [
        "images/bad.jpg",
        "images/good.jpg",
        "images/other.jpg",
    ]
    assert len(bus.details) == 3


def test_events_that_the_bus_refuses_bring_their_messages_back(s3: Any, encoders: Encoders) -> None:
    bus = Bus(refused=2)
    bulk = handler_of(encoders, bus)
    records = [upload(s3, f"images/{i:02}.jpg", DOG + bytes([i])) for i in range(14)]
    assert send(bulk, *records) == ["images/00.jpg", "images/01.jpg"]
    assert send(bulk, *records[:2]) == []
    assert sorted(detail["key"] for detail in bus.details) == [
        f"images/{i:02}.jpg" for i in range(14)
    ]
    assert len(lines(s3)) == 14


def test_uploads_for_which_there_is_no_time_go_back(s3: Any, bulk: BulkHandler, bus: Bus) -> None:
    assert send(bulk, upload(s3, "images/a.jpg", DOG), left=6_000) == ["images/a.jpg"]
    assert (lines(s3), bus.details) == ([], [])
