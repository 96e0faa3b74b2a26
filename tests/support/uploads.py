"""Uploads on moto, from the queue's messages to lines, tags and events."""

import json
from typing import Any

from classifier.bulk import BulkHandler
from classifier.contract.classifiers.folder import read_classifiers
from classifier.model.encoders import Encoders
from classifier.storage.bucket import Bucket
from classifier.storage.uploads import Uploads
from tests.support.requests import ROOT, Context
from tests.support.runs import BUCKET, REGION, keys

DOG = (ROOT / "examples" / "images" / "dog.jpg").read_bytes()
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
