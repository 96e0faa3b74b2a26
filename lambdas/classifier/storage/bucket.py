"""Images and results in one bucket of S3: the only importer of boto3, when it is first needed.

boto3 is part of AWS's base images for Python
(https://docs.aws.amazon.com/lambda/latest/dg/lambda-python.html), so the image brings none.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from classifier.contract.errors import ApiError, quoted
from classifier.contract.limits import MAX_OBJECT_BYTES
from classifier.storage.items import Item, Replaced, skip_reason

# Tags that S3 refuses: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html
MAX_TAGS = 10
MAX_TAG_VALUE = 256
NOT_IN_A_TAG = re.compile(r"[^\w +\-=.:/@]")
OUR_TAGS = ("clip-decision", "clip-label", "clip-probability")


def client(service: str) -> Any:
    """A client that tries again with back-off and jitter if AWS throttles or fails."""
    import boto3
    from botocore.config import Config

    retries = {"mode": "standard", "max_attempts": 5}
    return boto3.client(
        service,
        config=Config(retries=retries, connect_timeout=2, read_timeout=8, max_pool_connections=20),
    )


@dataclass
class Bucket:
    """`prefix`: the part from which images may be read."""

    name: str
    prefix: str

    @cached_property
    def s3(self) -> Any:
        return client("s3")

    def skip_reason(self, item: Item) -> str | None:
        return skip_reason(item, self.prefix)

    def stat(self, item: Item) -> Item:
        with self._explained(item):
            return _found(item, self.s3.head_object(**self._target(item)))

    def read(self, item: Item) -> tuple[Item, bytes]:
        with self._explained(item):
            answer = self.s3.get_object(**self._target(item))
            body = answer["Body"]
            if answer["ContentLength"] > MAX_OBJECT_BYTES:
                body.close()
                raise too_large(item.key, answer["ContentLength"])
            return _found(item, answer), body.read()

    def get(self, key: str) -> bytes | None:
        """The program's own object, or None."""
        try:
            body: bytes = self.s3.get_object(Bucket=self.name, Key=key)["Body"].read()
            return body
        except self.s3.exceptions.ClientError as err:
            if self._is_missing(key, err):
                return None
            raise

    def put(self, key: str, body: bytes, content_type: str = "application/jsonl") -> None:
        self.s3.put_object(Bucket=self.name, Key=key, Body=body, ContentType=content_type)

    def is_empty(self, prefix: str) -> bool:
        return not self.s3.list_objects_v2(Bucket=self.name, Prefix=prefix, MaxKeys=1).get(
            "KeyCount"
        )

    def tag(self, item: Item, tags: dict[str, str]) -> None:
        """Adds our tags to those of others, up to ten in all. Raises Replaced."""
        target = {"Bucket": self.name, "Key": item.key} | (
            {"VersionId": item.version} if item.version else {}
        )
        with self._explained(item):
            before = {
                tag["Key"]: tag["Value"] for tag in self.s3.get_object_tagging(**target)["TagSet"]
            }
            after = {name: value for name, value in before.items() if name not in OUR_TAGS}
            for name in OUR_TAGS:
                if name in tags and len(after) < MAX_TAGS:
                    after[name] = NOT_IN_A_TAG.sub("_", tags[name])[:MAX_TAG_VALUE]
            if after == before:
                return
            if item.exact and not item.version:
                # A narrow gap remains; whatever replaces the object is classified and tagged by its
                # own event.
                self.s3.head_object(**self._target(item))
            self.s3.put_object_tagging(
                **target,
                Tagging={"TagSet": [{"Key": name, "Value": text} for name, text in after.items()]},
            )

    def _is_missing(self, key: str, err: Any) -> bool:
        """S3 answers 403 for a missing object if the caller may list only under a prefix. A listing
        under it shows whether the object is missing or forbidden.
        """
        status = err.response["ResponseMetadata"].get("HTTPStatusCode")
        if status != 403:
            return bool(status == 404)
        found = self.s3.list_objects_v2(Bucket=self.name, Prefix=key, MaxKeys=1).get("Contents", [])
        return not found or found[0]["Key"] != key

    def _target(self, item: Item) -> dict[str, str]:
        """Raises ApiError for a key outside the prefix, before S3 is asked."""
        if not item.key.startswith(self.prefix):
            message = (
                f"The key {quoted(item.key)} is not under {quoted(self.prefix)}, the only prefix"
                " that may be read."
            )
            raise ApiError(403, "forbidden", message)
        target = {"Bucket": self.name, "Key": item.key}
        if item.version:
            return target | {"VersionId": item.version}
        return target | ({"IfMatch": f'"{item.etag}"'} if item.exact and item.etag else {})

    @contextmanager
    def _explained(self, item: Item) -> Iterator[None]:
        """Raises S3's error about one object as ApiError or Replaced; other failures pass
        through.
        """
        try:
            yield
        except ApiError:
            raise
        except self.s3.exceptions.ClientError as err:
            code = err.response["Error"]["Code"]
            status = err.response["ResponseMetadata"].get("HTTPStatusCode")
            if code == "InvalidObjectState":
                message = f"{quoted(item.key)} is in an archive's storage class; restore it first."
                raise ApiError(403, "forbidden", message) from err
            missing = self._is_missing(item.key, err)
            if status == 412 or (missing and item.exact):
                raise Replaced from err
            if missing:
                raise ApiError(
                    404, "not_found", f"There is no object {quoted(item.key)} in the bucket."
                ) from err
            if status == 403 or (code.startswith("KMS.") and "Throttl" not in code):
                message = (
                    f"{quoted(item.key)} may not be read; let the function's role read it, and use"
                    " its KMS key if it has one."
                )
                raise ApiError(403, "forbidden", message) from err
            raise


def _found(item: Item, answer: dict[str, Any]) -> Item:
    version = item.version or answer.get("VersionId")
    return replace(
        item,
        etag=answer["ETag"].strip('"'),
        size=answer["ContentLength"],
        version=None if version == "null" else version,
    )


def too_large(key: str, size: int) -> ApiError:
    return ApiError(
        413,
        "too_large",
        f"{quoted(key)} has {size:,} bytes; at most {MAX_OBJECT_BYTES:,} are allowed.",
    )
