"""Uploads from S3's events to lines, tags and events of our own, on moto."""

import json
from typing import Any

import boto3
import pytest

from classifier.bulk import BulkHandler
from classifier.model.encoders import Encoders
from classifier.storage.bucket import Bucket
from classifier.storage.uploads import Uploads
from tests.support.images import encoded, soft_image
from tests.support.runs import BUCKET, REGION, keys
from tests.support.uploads import DOG, Bus, handler_of, lines, send, tags, upload


def test_an_upload_becomes_a_line_tags_and_an_event(s3: Any, bulk: BulkHandler, bus: Bus) -> None:
    assert send(bulk, upload(s3, "images/a b+ü.jpg", DOG)) == []
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
    s3: Any, bulk: BulkHandler, bus: Bus, request_: dict[str, Any], decision: str
) -> None:
    s3.put_object(Bucket=BUCKET, Key="assets/request.json", Body=json.dumps(request_).encode())
    assert send(bulk, upload(s3, "images/a.jpg", DOG)) == []
    (line,) = lines(s3)
    (detail,) = bus.details
    assert detail["decision"] == line["decision"]
    assert tags(s3, "images/a.jpg")["clip-decision"] == decision


def test_an_upload_delivered_twice_is_written_once_and_its_events_have_one_id(
    s3: Any, bulk: BulkHandler, bus: Bus
) -> None:
    record = upload(s3, "images/a.jpg", DOG)
    assert send(bulk, record, record | {"messageId": "copy"}) == []
    assert len(bus.details) == 1
    assert send(bulk, record | {"messageId": "late copy"}) == []
    assert len(lines(s3)) == 1
    assert len({detail["id"] for detail in bus.details}) == 1


def test_events_out_of_order_leave_the_newest_objects_result_and_tags(
    s3: Any, bulk: BulkHandler, bus: Bus
) -> None:
    old = upload(s3, "images/a.jpg", encoded(soft_image(60, 40), "JPEG"), "old")
    new = upload(s3, "images/a.jpg", DOG, "new")
    assert send(bulk, new) == []
    before = tags(s3, "images/a.jpg")
    assert send(bulk, old) == []
    assert send(bulk, new, old) == []
    assert tags(s3, "images/a.jpg") == before
    # What was replaced before it was read is not classified.
    assert [line["etag"] for line in lines(s3)] == [
        json.loads(new["body"])["detail"]["object"]["etag"]
    ]


def test_with_versions_each_version_has_its_own_line_and_tags(s3: Any, bulk: BulkHandler) -> None:
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    other = encoded(soft_image(60, 40), "JPEG")
    old = upload(s3, "images/a.jpg", other, "old")
    new = upload(s3, "images/a.jpg", DOG, "new")
    assert send(bulk, new, old) == []
    found = {line["version_id"]: line for line in lines(s3)}
    assert len(found) == 2
    for version, line in found.items():
        assert tags(s3, "images/a.jpg", VersionId=version)["clip-label"] == max(
            line["result"], key=line["result"].get
        ).translate(str.maketrans("()*", "___"))


def test_tags_of_others_stay_and_ours_take_what_is_left_of_ten(s3: Any, bulk: BulkHandler) -> None:
    tagging = "&".join(f"own{i}=x" for i in range(9))
    assert send(bulk, upload(s3, "images/a.jpg", DOG, Tagging=tagging)) == []
    found = tags(s3, "images/a.jpg")
    assert len(found) == 10
    assert {name for name in found if name.startswith("own")} == {f"own{i}" for i in range(9)}
    assert found["clip-label"] == "a dog"
    full = "&".join(f"own{i}=x" for i in range(10))
    assert send(bulk, upload(s3, "images/b.jpg", DOG, Tagging=full)) == []
    assert len(tags(s3, "images/b.jpg")) == 10


def test_tags_are_written_only_if_they_are_asked_for(s3: Any, encoders: Encoders, bus: Bus) -> None:
    assert send(handler_of(encoders, bus, tags=False), upload(s3, "images/a.jpg", DOG)) == []
    assert (tags(s3, "images/a.jpg"), len(bus.details)) == ({}, 1)


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
    bulk = BulkHandler(
        encoders,
        bucket,
        lambda own: Uploads(own, "demo", bucket, Bucket(BUCKET, ""), "assets/request.json"),
    )
    assert send(bulk, upload(s3, "images/a.jpg", DOG)) == []
    (message,) = sqs.receive_message(QueueUrl=queue)["Messages"]
    seen = json.loads(message["Body"])
    assert (seen["detail-type"], seen["detail"]["key"]) == ("Image Classified", "images/a.jpg")
