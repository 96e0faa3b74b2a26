"""Turning a bucket's events on leaves its other notifications as they are."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tools.upload_events import switch_on


class Notifications:
    """S3's two calls, with what is stored."""

    def __init__(self, **stored: Any) -> None:
        self.stored = stored
        self.writes = 0
        self.on_read = lambda: None

    def get_bucket_notification_configuration(self, Bucket: str) -> dict[str, Any]:  # noqa: N803
        answer = {
            "ResponseMetadata": {"HTTPStatusCode": 200},
            **json.loads(json.dumps(self.stored)),
        }
        return answer

    def put_bucket_notification_configuration(self, **given: Any) -> None:
        assert given["SkipDestinationValidation"] is True
        self.stored = given["NotificationConfiguration"]
        self.writes = self.writes + 1


QUEUE = {
    "QueueConfigurations": [
        {
            "Id": "thumbnails",
            "QueueArn": "arn:aws:sqs:eu-west-1:1:q",
            "Events": ["s3:ObjectCreated:*"],
        }
    ]
}


@pytest.mark.parametrize(
    ("before", "answer", "writes"),
    [
        (QUEUE, "y", 1),
        (QUEUE, "", 0),
        ({}, "yes", 1),
        (QUEUE | {"EventBridgeConfiguration": {}}, "y", 0),
    ],
)
def test_a_buckets_other_notifications_are_kept_and_nothing_is_written_unasked(
    before: dict[str, Any], answer: str, writes: int, capsys: pytest.CaptureFixture[str]
) -> None:
    s3 = Notifications(**before)
    switch_on(s3, "pictures", lambda _: answer)
    assert s3.writes == writes
    assert s3.stored == (before | {"EventBridgeConfiguration": {}} if writes else before)
    assert (
        '+  "EventBridgeConfiguration": {}' in capsys.readouterr().out.replace("{},", "{}")
    ) == ("EventBridgeConfiguration" not in before)


def test_notifications_that_changed_meanwhile_are_not_overwritten() -> None:
    s3 = Notifications(**QUEUE)

    def ask_and_change(_: str) -> str:
        s3.stored = {"TopicConfigurations": []}
        return "y"

    changed: Callable[[str], str] = ask_and_change
    assert "somebody else" in switch_on(s3, "pictures", changed)
    assert s3.stored == {"TopicConfigurations": []}
