"""Uploads from S3's events to lines, tags and events of our own, on moto."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import boto3
import botocore.handlers
import pytest

from classifier.bulk import BulkHandler
from classifier.contract.classifiers.folder import read_classifiers
from classifier.model.encoders import Encoders
from classifier.storage.bucket import Bucket
from classifier.storage.uploads import Uploads
from tests.support.pictures import encoded, picture
from tests.support.requests import ROOT, Context
from tests.support.runs import BUCKET, REGION, aws, execute, keys

DOG = (Path(__file__).parent.parent.parent / "examples" / "images" / "dog.jpg").read_bytes()
REQUEST = {"labels": ["a dog", "a (cat)*"], "multi_label": True}


class Bus:
    """Records events; refuses as many as told, as EventBridge does: with 200 and an error in the
    entry.
    """

    def __init__(self, refused: int = 0) -> None:
        self.details: list[dict[str, Any]] = []
        self.refused = refused
        self.sizes = [0]

    def put_events(self, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        answers = []
        assert len(Entries) <= 10
        self.sizes.append(sum(len(entry["Detail"].encode()) for entry in Entries))
        for entry in Entries:
            assert (entry["Source"], entry["DetailType"]) == ("clip-classifier", "Image Classified")
            if self.refused:
                self.refused -= 1
                answers.append({"ErrorCode": "ThrottlingException", "ErrorMessage": "slow"})
            else:
                self.details.append(json.loads(entry["Detail"]))
                answers.append({"EventId": "1"})
        return {"Entries": answers}


@pytest.fixture
def s3() -> Iterator[Any]:
    with aws() as client:
        client.put_object(
            Bucket=BUCKET, Key="assets/request.json", Body=json.dumps(REQUEST).encode()
        )
        yield client


@pytest.fixture
def bus() -> Bus:
    return Bus()


def handler_of(
    encoders: Encoders, bus: Bus, bucket: Bucket | None = None, *, tags: bool = True
) -> BulkHandler:
    bucket = bucket or Bucket(BUCKET, "images/")
    assets = Bucket(BUCKET, "")
    classifiers = read_classifiers(ROOT / "classifiers", encoders.manifest)
    return BulkHandler(
        encoders,
        bucket,
        lambda own: Uploads(own, "demo", bucket, assets, "assets/request.json", tags, bus),
        classifiers,
    )


@pytest.fixture
def handler(s3: Any, encoders: Encoders, bus: Bus) -> BulkHandler:
    return handler_of(encoders, bus)


def upload(s3: Any, key: str, body: bytes, identity: str = "", **more: Any) -> dict[str, Any]:
    """Uploads, and the message that EventBridge then puts into the queue, as AWS documents and as
    was recorded.
    """
    answer = s3.put_object(Bucket=BUCKET, Key=key, Body=body, **more)
    found = {
        "key": key,
        "size": len(body),
        "etag": answer["ETag"].strip('"'),
        "sequencer": "617f08299329d189",
    }
    found |= {"version-id": answer["VersionId"]} if "VersionId" in answer else {}
    event = {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "account": "123456789012",
        "time": "2026-11-25T11:59:03Z",
        "region": REGION,
        "resources": [f"arn:aws:s3:::{BUCKET}"],
        "detail": {
            "version": "0",
            "bucket": {"name": BUCKET},
            "object": found,
            "request-id": "N4N7GDK58NMKJ12R",
            "requester": "123456789012",
            "source-ip-address": "1.2.3.4",
            "reason": "PutObject",
        },
    }
    return {"messageId": identity or key, "body": json.dumps(event), "eventSource": "aws:sqs"}


def send(handler: BulkHandler, *records: dict[str, Any], left: int = 60_000) -> list[str]:
    """What goes back to the queue."""
    answer = handler({"Records": list(records)}, Context(left))
    return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


def lines(s3: Any) -> list[dict[str, Any]]:
    bodies = [
        s3.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read()
        for entry in keys(s3, "results/")
    ]
    return [json.loads(line) for body in bodies for line in body.decode().splitlines()]


def tags(s3: Any, key: str, **more: Any) -> dict[str, str]:
    return {
        tag["Key"]: tag["Value"]
        for tag in s3.get_object_tagging(Bucket=BUCKET, Key=key, **more)["TagSet"]
    }


def test_an_upload_becomes_a_line_tags_and_an_event(
    s3: Any, handler: BulkHandler, bus: Bus
) -> None:
    assert send(handler, upload(s3, "images/a b+ü.jpg", DOG)) == []
    (line,) = lines(s3)
    (detail,) = bus.details
    assert (line["key"], line["size"], max(line["result"], key=line["result"].get)) == (
        "images/a b+ü.jpg",
        len(DOG),
        "a dog",
    )
    expected = {"bucket": BUCKET, "encoded_key": "images/a%20b%2B%C3%BC.jpg", **line}
    assert {**detail, "id": "…"} == {"id": "…", **expected}
    assert tags(s3, "images/a b+ü.jpg") == {
        "clip-label": "a dog",
        "clip-probability": f"{line['result']['a dog']:.4f}",
    }
    assert keys(s3, "results/")[0]["Key"].startswith("results/uploads-2026-11-25/")


@pytest.mark.parametrize(
    ("request_", "decision"),
    [
        ({"classifier": "drawings"}, "a dog"),
        (
            {
                "labels": ["a dog", "a cat"],
                "actions": ["look", "hide"],
                "thresholds": {"a dog": {"look": 0.1, "hide": 0.2}},
            },
            "hide",
        ),
        (
            {"labels": ["a dog", "a cat"], "thresholds": {"a cat": 0.9}, "min_probability": 1.0},
            "none",
        ),
    ],
)
def test_a_decision_is_in_the_line_the_event_and_a_tag(
    s3: Any, handler: BulkHandler, bus: Bus, request_: dict[str, Any], decision: str
) -> None:
    s3.put_object(Bucket=BUCKET, Key="assets/request.json", Body=json.dumps(request_).encode())
    assert send(handler, upload(s3, "images/a.jpg", DOG)) == []
    (line,) = lines(s3)
    (detail,) = bus.details
    assert detail["decision"] == line["decision"]
    assert tags(s3, "images/a.jpg")["clip-decision"] == decision


def test_an_upload_delivered_twice_is_written_once_and_its_events_have_one_id(
    s3: Any, handler: BulkHandler, bus: Bus
) -> None:
    record = upload(s3, "images/a.jpg", DOG)
    assert send(handler, record, record | {"messageId": "copy"}) == []
    assert len(bus.details) == 1
    assert send(handler, record | {"messageId": "late copy"}) == []
    assert len(lines(s3)) == 1
    assert len({detail["id"] for detail in bus.details}) == 1


def test_events_out_of_order_leave_the_newest_objects_result_and_tags(
    s3: Any, handler: BulkHandler, bus: Bus
) -> None:
    old = upload(s3, "images/a.jpg", encoded(picture(60, 40), "JPEG"), "old")
    new = upload(s3, "images/a.jpg", DOG, "new")
    assert send(handler, new) == []
    before = tags(s3, "images/a.jpg")
    assert send(handler, old) == []
    assert send(handler, new, old) == []
    assert tags(s3, "images/a.jpg") == before
    # What was replaced before it was read is not classified.
    assert [line["etag"] for line in lines(s3)] == [
        json.loads(new["body"])["detail"]["object"]["etag"]
    ]


def test_with_versions_each_version_has_its_own_line_and_tags(
    s3: Any, handler: BulkHandler
) -> None:
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    other = encoded(picture(60, 40), "JPEG")
    old = upload(s3, "images/a.jpg", other, "old")
    new = upload(s3, "images/a.jpg", DOG, "new")
    assert send(handler, new, old) == []
    found = {line["version_id"]: line for line in lines(s3)}
    assert len(found) == 2
    for version, line in found.items():
        assert tags(s3, "images/a.jpg", VersionId=version)["clip-label"] == max(
            line["result"], key=line["result"].get
        ).translate(str.maketrans("()*", "___"))


def test_tags_of_others_stay_and_ours_take_what_is_left_of_ten(
    s3: Any, handler: BulkHandler
) -> None:
    tagging = "&".join(f"own{i}=x" for i in range(9))
    assert send(handler, upload(s3, "images/a.jpg", DOG, Tagging=tagging)) == []
    found = tags(s3, "images/a.jpg")
    assert len(found) == 10
    assert {name for name in found if name.startswith("own")} == {f"own{i}" for i in range(9)}
    assert found["clip-label"] == "a dog"
    full = "&".join(f"own{i}=x" for i in range(10))
    assert send(handler, upload(s3, "images/b.jpg", DOG, Tagging=full)) == []
    assert len(tags(s3, "images/b.jpg")) == 10


def test_tags_are_written_only_where_they_are_asked_for(
    s3: Any, encoders: Encoders, bus: Bus
) -> None:
    assert send(handler_of(encoders, bus, tags=False), upload(s3, "images/a.jpg", DOG)) == []
    assert (tags(s3, "images/a.jpg"), len(bus.details)) == ({}, 1)


def test_a_damaged_upload_is_a_line_and_an_event_with_its_error_and_no_failure(
    s3: Any, handler: BulkHandler, bus: Bus
) -> None:
    assert (
        send(
            handler,
            upload(s3, "images/a.jpg", b"no picture"),
            upload(s3, "images/notes.txt", b"text"),
        )
        == []
    )
    (line,) = lines(s3)
    assert (line["error"]["code"], bus.details[0]["error"]["code"]) == (
        "unsupported_media_type",
    ) * 2
    assert tags(s3, "images/a.jpg") == {}


def test_a_deleted_upload_is_done(s3: Any, handler: BulkHandler, bus: Bus) -> None:
    record = upload(s3, "images/a.jpg", DOG)
    s3.delete_object(Bucket=BUCKET, Key="images/a.jpg")
    assert (send(handler, record), lines(s3), bus.details) == ([], [], [])


@pytest.mark.parametrize("body", ["", "{", "[]", "{}", '{"detail": {"object": {"key": 1}}}'])
def test_a_message_that_is_no_event_goes_back_alone(
    s3: Any, handler: BulkHandler, body: str
) -> None:
    assert send(handler, {"messageId": "odd", "body": body}, upload(s3, "images/a.jpg", DOG)) == [
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
    handler = handler_of(encoders, bus, bucket)
    records = [
        upload(s3, f"images/{name}.jpg", DOG + name.encode()) for name in ("good", "bad", "other")
    ]
    assert send(handler, *records) == ["images/bad.jpg"]
    assert sorted(detail["key"] for detail in bus.details) == [
        "images/good.jpg",
        "images/other.jpg",
    ]
    bucket.broken = "nothing"
    assert send(handler, records[1]) == []
    assert sorted(line["key"] for line in lines(s3)) == [
        "images/bad.jpg",
        "images/good.jpg",
        "images/other.jpg",
    ]
    assert len(bus.details) == 3


def test_events_that_the_bus_refuses_bring_their_messages_back(s3: Any, encoders: Encoders) -> None:
    bus = Bus(refused=2)
    handler = handler_of(encoders, bus)
    records = [upload(s3, f"images/{i:02}.jpg", DOG + bytes([i])) for i in range(14)]
    assert send(handler, *records) == ["images/00.jpg", "images/01.jpg"]
    assert send(handler, *records[:2]) == []
    assert sorted(detail["key"] for detail in bus.details) == [
        f"images/{i:02}.jpg" for i in range(14)
    ]
    assert len(lines(s3)) == 14


def test_an_event_that_is_too_large_keeps_the_best_names_and_says_so(
    s3: Any, encoders: Encoders, bus: Bus
) -> None:
    labels = [f"label {i} {'и' * 40}" for i in range(900)]
    thresholds = {"actions": ["hide"], "thresholds": {label: {"hide": 0.0} for label in labels}}
    request = {"labels": labels, "details": True, "embedding": True, **thresholds}
    s3.put_object(Bucket=BUCKET, Key="assets/request.json", Body=json.dumps(request).encode())
    assert send(handler_of(encoders, bus), upload(s3, "images/a.jpg", DOG)) == []
    (detail,) = bus.details
    (line,) = lines(s3)
    assert (detail["truncated"], len(detail["result"]), len(line["result"])) == (True, 100, 900)
    assert detail["result"] == {
        name: line["result"][name]
        for name in sorted(line["result"], key=line["result"].get, reverse=True)[:100]
    }
    assert (detail["decision"]["action"], len(detail["decision"]["labels"])) == ("hide", 100)
    assert max(bus.sizes) < 200_000


def test_uploads_for_which_there_is_no_time_go_back(
    s3: Any, handler: BulkHandler, bus: Bus
) -> None:
    assert send(handler, upload(s3, "images/a.jpg", DOG), left=6_000) == ["images/a.jpg"]
    assert (lines(s3), bus.details) == ([], [])


def test_the_event_goes_to_the_default_bus_of_eventbridge(s3: Any, encoders: Encoders) -> None:
    bucket = Bucket(BUCKET, "images/")
    events = boto3.client("events", region_name=REGION)
    events.put_rule(Name="all", EventPattern=json.dumps({"source": ["clip-classifier"]}))
    sqs = boto3.client("sqs", region_name=REGION)
    queue = sqs.create_queue(QueueName="seen")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"][
        "QueueArn"
    ]
    events.put_targets(Rule="all", Targets=[{"Id": "1", "Arn": arn}])
    handler = BulkHandler(
        encoders,
        bucket,
        lambda own: Uploads(own, "demo", bucket, Bucket(BUCKET, ""), "assets/request.json"),
    )
    assert send(handler, upload(s3, "images/a.jpg", DOG)) == []
    (message,) = sqs.receive_message(QueueUrl=queue)["Messages"]
    seen = json.loads(message["Body"])
    assert (seen["detail-type"], seen["detail"]["key"]) == ("Image Classified", "images/a.jpg")


KEYS = [
    *("a+b.jpg", "a b.jpg", "a%2Bb.jpg", "100%.jpg", "a?versionId=1.jpg", "a&b=c;d#e.jpg"),
    "ä {}'\"\\.jpg",
]


def documented(start: str) -> dict[str, Any]:
    """The state machine of docs/bulk.md that starts so."""
    page = (ROOT / "docs" / "bulk.md").read_text(encoding="utf-8")
    blocks = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]
    [machine] = [block for block in blocks if block.get("StartAt") == start]
    found: dict[str, Any] = machine
    return found


@pytest.fixture
def raw_copy_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 URL-encodes a CopySource by itself; the SDK that Step Functions uses sends it as it is:
    https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
    """
    encoding = botocore.handlers.handle_copy_source_param
    kept = [entry for entry in botocore.handlers.BUILTIN_HANDLERS if entry[1] is not encoding]
    monkeypatch.setattr(botocore.handlers, "BUILTIN_HANDLERS", kept)


def test_the_documented_quarantine_moves_the_blocked_object_and_no_other(
    raw_copy_source: None, s3: Any, handler: BulkHandler, bus: Bus
) -> None:
    bodies = {f"images/{name}": DOG + name.encode() for name in KEYS}
    records = [upload(s3, key, body) for key, body in bodies.items()]
    left = dict(bodies)
    for record, (key, body) in zip(records, bodies.items(), strict=True):
        bus.details.clear()
        assert send(handler, record) == []
        [detail] = bus.details
        assert unquote(detail["encoded_key"]) == key
        assert execute(documented("Copy"), {"detail": detail}) == "SUCCEEDED"
        del left[key]
        assert {entry["Key"] for entry in keys(s3, "images/")} == set(left), key
        moved = s3.get_object(Bucket=BUCKET, Key=f"quarantine/{key}")
        assert moved["Body"].read() == body, key


def test_the_documented_database_has_each_event_once(
    s3: Any, handler: BulkHandler, bus: Bus
) -> None:
    table = boto3.client("dynamodb", region_name=REGION)
    table.create_table(
        TableName="pictures",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    records = [upload(s3, "images/a+b.jpg", DOG), upload(s3, "images/bad.jpg", b"no picture")]
    assert send(handler, *records) == []
    for detail in [*bus.details, bus.details[0]]:
        assert execute(documented("Put"), {"detail": detail}) == "SUCCEEDED"
    items = {item["key"]["S"]: item for item in table.scan(TableName="pictures")["Items"]}
    assert len(items) == 2
    for detail in bus.details:
        assert json.loads(items[detail["key"]]["detail"]["S"]) == detail
