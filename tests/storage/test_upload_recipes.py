"""The state machines of docs/bulk.md, run on the events of uploads."""

import json
import re
from typing import Any
from urllib.parse import unquote

import boto3
import botocore.handlers
import pytest

from classifier.bulk import BulkHandler
from tests.support.requests import ROOT
from tests.support.runs import BUCKET, REGION, execute, keys
from tests.support.uploads import DOG, Bus, send, upload

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
    raw_copy_source: None, s3: Any, bulk: BulkHandler, bus: Bus
) -> None:
    bodies = {f"images/{name}": DOG + name.encode() for name in KEYS}
    records = [upload(s3, key, body) for key, body in bodies.items()]
    left = dict(bodies)
    for record, (key, body) in zip(records, bodies.items(), strict=True):
        bus.details.clear()
        assert send(bulk, record) == []
        [detail] = bus.details
        assert unquote(detail["encoded_key"]) == key
        assert execute(documented("Copy"), {"detail": detail}) == "SUCCEEDED"
        del left[key]
        assert {entry["Key"] for entry in keys(s3, "images/")} == set(left), key
        moved = s3.get_object(Bucket=BUCKET, Key=f"quarantine/{key}")
        assert moved["Body"].read() == body, key


def test_the_documented_database_has_each_event_once(s3: Any, bulk: BulkHandler, bus: Bus) -> None:
    table = boto3.client("dynamodb", region_name=REGION)
    table.create_table(
        TableName="pictures",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    records = [upload(s3, "images/a+b.jpg", DOG), upload(s3, "images/bad.jpg", b"no image")]
    assert send(bulk, *records) == []
    for detail in [*bus.details, bus.details[0]]:
        assert execute(documented("Put"), {"detail": detail}) == "SUCCEEDED"
    items = {item["key"]["S"]: item for item in table.scan(TableName="pictures")["Items"]}
    assert len(items) == 2
    for detail in bus.details:
        assert json.loads(items[detail["key"]]["detail"]["S"]) == detail
