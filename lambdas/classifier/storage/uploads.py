"""Uploads: events of S3 from the queue to lines, tags and events of our own."""

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import quote

from classifier.contract.bucket_layout import EVENT_SOURCE, RESULTS
from classifier.contract.request.parsing import parse_options
from classifier.contract.request.query import Query
from classifier.contract.strict_json import JsonObject
from classifier.engine.engine import Engine
from classifier.storage.batches import Batch, Outcome, batch_name
from classifier.storage.bucket import Bucket, client
from classifier.storage.items import Item, Replaced, deduplicated
from classifier.storage.lines import dumps, tags_of

DETAIL_TYPE = "Image Classified"
# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html: 256 KB an entry, and
# 10 entries a call.
MAX_DETAIL_BYTES = 200_000
MAX_ENTRIES = 10
# How many names an event keeps if not all of them fit.
NAMES_IN_A_LARGE_EVENT = 100
KEPT = ("id", "bucket", "key", "encoded_key", "etag", "size", "version_id", "model")
logger = logging.getLogger(__name__)


@dataclass
class Uploads:
    """Classifies the objects that are uploaded to `bucket`, as the request under `key` in `assets`
    asks; `tags`: whether objects get tags.
    """

    classifier: Engine
    model: str
    bucket: Bucket
    assets: Bucket
    key: str
    tags: bool = False
    events: Any = field(default_factory=lambda: client("events"))

    @cached_property
    def _request(self) -> Query:
        body = self.assets.get(self.key)
        if body is None:
            raise RuntimeError(f"There is no {self.key} in {self.assets.name}; deploy again.")
        return parse_options(json.loads(body))

    def classify(self, records: list[JsonObject], remaining: Callable[[], int]) -> JsonObject:
        """Records that failed go back to the queue, and those alone."""
        messages: dict[str, tuple[Item, str]] = {}
        failed: set[str] = set()
        for record in records:
            try:
                messages[record["messageId"]] = _uploaded(json.loads(record["body"]))
            except (KeyError, TypeError, ValueError):
                logger.exception("no event of S3")
                failed.add(record["messageId"])
        # One that S3 sent again, or that a copy of itself follows, is one item.
        items = deduplicated([item for item, _ in messages.values()])
        days = {item.identity: day for item, day in messages.values()}
        batch = Batch(self.classifier, self.model, self._request, items, self.bucket, remaining)
        lost: set[Item] = set()
        entries: list[tuple[Item, JsonObject]] = []
        for asked, outcome in zip(items, batch.classify(), strict=True):
            try:
                if self._finish(asked, outcome, days[asked.identity]):
                    entries.append((asked, outcome.line))
            except Exception:
                logger.exception("upload")
                lost.add(asked)
        lost |= self._publish(entries)
        failed |= {identity for identity, (item, _) in messages.items() if item in lost}
        logger.info("uploads", extra={"records": len(records), "failed": len(failed)})
        return {"batchItemFailures": [{"itemIdentifier": identity} for identity in sorted(failed)]}

    def _finish(self, asked: Item, outcome: Outcome, day: str) -> bool:
        """Writes the line and the tags, and tells whether an event follows. Raises if S3 fails or
        time ran out.
        """
        if isinstance(outcome.failure, Replaced):
            # Deleted, or replaced: the new object has an event of its own.
            return False
        line = outcome.line_or_raise()
        if line.get("error", {}).get("code") == "out_of_time":
            raise TimeoutError(asked.key)
        if "skipped" in line:
            return False
        self.bucket.put(f"{RESULTS}uploads-{day}/{batch_name([asked])}.jsonl", dumps(line).encode())
        if self.tags and "error" not in line:
            try:
                self.bucket.tag(asked, tags_of(line))
            except Replaced:
                return False
        return True

    def _publish(self, entries: list[tuple[Item, JsonObject]]) -> set[Item]:
        """The items whose event the bus refused."""
        lost: set[Item] = set()
        for start_at in range(0, len(entries), MAX_ENTRIES):
            group = entries[start_at : start_at + MAX_ENTRIES]
            details = [_detail(self.bucket.name, item, line) for item, line in group]
            # A call's size is limited as an entry's is.
            calls = (
                [range(len(group))]
                if sum(map(len, details)) <= MAX_DETAIL_BYTES
                else [range(i, i + 1) for i in range(len(group))]
            )
            for call in calls:
                batch = [
                    {"Source": EVENT_SOURCE, "DetailType": DETAIL_TYPE, "Detail": details[i]}
                    for i in call
                ]
                try:
                    answers = self.events.put_events(Entries=batch)["Entries"]
                except Exception:
                    logger.exception("events")
                    answers = [{"ErrorCode": "failed"}] * len(batch)
                lost |= {
                    group[i][0]
                    for i, answer in zip(call, answers, strict=True)
                    if answer.get("ErrorCode")
                }
        return lost


def _uploaded(event: JsonObject) -> tuple[Item, str]:
    """The object and the day of an event `Object Created`:
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
    """
    found = event["detail"]["object"]
    return (
        Item(found["key"], found["etag"], int(found["size"]), found.get("version-id"), exact=True),
        str(event["time"])[:10],
    )


def _detail(bucket: str, item: Item, line: JsonObject) -> str:
    """The event's detail. `id` is the same for the same version of the same object, so that whoever
    gets it twice can tell. `encoded_key` is URL-encoded, as S3 wants a CopySource.
    """
    identity = hashlib.sha256(json.dumps([bucket, *item.identity]).encode()).hexdigest()
    encoded = quote(item.key, errors="replace")
    detail = {"id": identity, "bucket": bucket, "encoded_key": encoded, **line}
    text = dumps(detail)
    if len(text.encode()) > MAX_DETAIL_BYTES:
        best = sorted((line.get("result") or {}).items(), key=lambda pair: -pair[1])[
            :NAMES_IN_A_LARGE_EVENT
        ]
        kept = {name: detail[name] for name in KEPT if name in detail}
        if "decision" in line:
            kept["decision"] = line["decision"] | {
                "labels": line["decision"]["labels"][:NAMES_IN_A_LARGE_EVENT]
            }
        text = dumps(kept | {"result": dict(best), "truncated": True})
    return text
