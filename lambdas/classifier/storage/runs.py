"""Runs over a bucket's images: a run's input checked, and its batches classified.

A run's input is a request of the API without images, and RUN_FIELDS. Results lie under RESULTS, in
one folder a run.
"""

import json
import logging
from collections.abc import Callable, Mapping

from classifier.contract.bucket_layout import MANIFESTS, RESULTS
from classifier.contract.errors import ApiError, quoted
from classifier.contract.request.parsing import parse_options
from classifier.contract.request.query import Query
from classifier.contract.strict_json import JsonObject
from classifier.engine.context import RequestContext
from classifier.engine.engine import Engine
from classifier.storage.batches import Batch, batch_name, check
from classifier.storage.bucket import Bucket
from classifier.storage.items import Item
from classifier.storage.lines import dumps

# A run's fields that a request doesn't have: default, minimum and maximum.
NUMBERS: Mapping[str, tuple[int, int, int]] = {
    "max_concurrency": (5, 1, 10_000),
    "tolerated_failure_percentage": (0, 0, 100),
    "batch_size": (100, 1, 500),
}
RUN_FIELDS = ("prefix", "manifest", *NUMBERS)
MAX_KEY_BYTES = 1024
logger = logging.getLogger(__name__)


class RunRefused(Exception):  # noqa: N818, the state machine shows its name
    """A run whose input can't be used; the message says why. Never tried again."""


class Runs:
    def __init__(self, engine: Engine, model: str, bucket: Bucket) -> None:
        self._engine = engine
        self._model = model
        self._bucket = bucket
        self._request: tuple[str, Query] | None = None

    def check(
        self, given: object, run: str, started: str, remaining: Callable[[], int]
    ) -> JsonObject:
        """Writes the run's request.json, and returns what the state machine needs next. Raises
        RunRefused.
        """
        try:
            own, options = self._own_fields(given)
            check(self._engine, options, RequestContext(remaining))
        except ApiError as err:
            raise RunRefused(err.message) from err
        prefix = own["prefix"]
        manifest = own["manifest"]
        if manifest is None and self._bucket.is_empty(prefix):
            raise RunRefused(f"There is no object under {quoted(prefix)}.")
        if manifest is not None and self._bucket.is_empty(manifest):
            raise RunRefused(f"There is no manifest {quoted(manifest)}.")
        key = f"{RESULTS}{run}/request.json"
        # One line without `key`, which queries over the results leave out.
        body = json.dumps(
            {"run": run, "started": started, "model": self._model, "input": own, "request": options}
        ).encode()
        before = self._bucket.get(key)
        if before is None:
            self._bucket.put(key, body, "application/json")
        elif before != body:
            raise RunRefused(
                f"There are results of another run named {quoted(run)}; choose another name."
            )
        return {"request": key, "run": run, **own}

    def _own_fields(self, given: object) -> tuple[JsonObject, JsonObject]:
        """The run's own fields, and the request. Raises ApiError."""
        if not isinstance(given, dict):
            raise ApiError(
                400,
                "invalid_request",
                'The input must be a JSON object: {"prefix": "…", "labels": ["…", "…"]}.',
            )
        own: JsonObject = {"prefix": given.get("prefix"), "manifest": given.get("manifest")}
        options = {name: value for name, value in given.items() if name not in RUN_FIELDS}
        if ("prefix" in given) == ("manifest" in given):
            raise ApiError(
                400,
                "invalid_request",
                "Send either prefix or manifest, which say where the images are.",
                "prefix",
            )
        name = "prefix" if "prefix" in given else "manifest"
        within = self._bucket.prefix if name == "prefix" else MANIFESTS
        if not isinstance(own[name], str) or not own[name].startswith(within):
            raise ApiError(
                400,
                "invalid_request",
                f"{name} must be a string that begins with {quoted(within)}.",
                name,
            )
        for name, (default, least, most) in NUMBERS.items():
            value = given.get(name, default)
            # JSON has one kind of number: 3.0 is as whole as 3.
            if (
                isinstance(value, bool)
                or not isinstance(value, int | float)
                or value != int(value)
                or not least <= value <= most
            ):
                message = f"{name} must be a whole number from {least} to {most:,}."
                raise ApiError(400, "invalid_request", message, name)
            own[name] = int(value)
        return own, options

    def classify(self, event: JsonObject, remaining: Callable[[], int]) -> JsonObject:
        """One batch of a run. Raises if S3 fails, so that all of the batch is tried again."""
        run = event["BatchInput"]
        query = self._query(run["request"])
        found = [_item(entry) for entry in event["Items"]]
        items = [item for item in found if isinstance(item, Item)]
        batch = Batch(self._engine, self._model, query, items, self._bucket, remaining)
        lines = [line for line in found if isinstance(line, dict)]
        lines += [outcome.line_or_raise() for outcome in batch.classify()]
        name = batch_name(
            [*items, *(Item(json.dumps(line)) for line in found if isinstance(line, dict))]
        )
        self._bucket.put(f"{RESULTS}{run['run']}/{name}.jsonl", "".join(map(dumps, lines)).encode())
        counts = {
            "lines": len(lines),
            "errors": sum("error" in line for line in lines),
            "skipped": sum("skipped" in line for line in lines),
        }
        logger.info("batch", extra=counts)
        return counts

    def _query(self, key: str) -> Query:
        """The run's request, read once for successive batches of the same run."""
        if self._request is None or self._request[0] != key:
            body = self._bucket.get(key)
            if body is None:
                raise RuntimeError(f"{key} is gone; start the run again.")
            self._request = key, parse_options(json.loads(body)["request"])
        return self._request[1]


def _item(entry: object) -> Item | JsonObject:
    """An object as Step Functions lists it or a manifest names it; otherwise its result line."""
    entry = {"key": entry} if isinstance(entry, str) else entry
    values = (
        {name.lower(): value for name, value in entry.items()} if isinstance(entry, dict) else {}
    )
    key, etag, size, version = (values.get(name) for name in ("key", "etag", "size", "version_id"))
    # On AWS an ETag keeps its quotation marks.
    etag = etag.strip('"') if isinstance(etag, str) else None
    size = size if isinstance(size, int) and not isinstance(size, bool) else None
    if isinstance(key, str) and 0 < len(key.encode("utf-8", "replace")) <= MAX_KEY_BYTES:
        return Item(key, etag, size, version if isinstance(version, str) else None)
    message = (
        f'The manifest has {quoted(json.dumps(entry))}, which is no key; each line is {{"key":'
        ' "…"}.'
    )
    return {
        "key": None,
        "etag": None,
        "size": None,
        "error": {"message": message, "code": "invalid_request"},
    }
