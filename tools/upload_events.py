"""Switches on EventBridge for a bucket that exists. The call that does it replaces all of the
bucket's notifications, so it merges.
"""

import argparse
import difflib
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any


def configuration(s3: Any, bucket: str) -> dict[str, Any]:
    answer: dict[str, Any] = s3.get_bucket_notification_configuration(Bucket=bucket)
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}


def switch_on(s3: Any, bucket: str, ask: Callable[[str], str] = input) -> str:
    """Returns a sentence that says what was done."""
    before = configuration(s3, bucket)
    after = before | {"EventBridgeConfiguration": {}}
    if before == after:
        return f"{bucket} sends its events to EventBridge already."
    old, new = (
        json.dumps(value, indent=2, sort_keys=True).splitlines() for value in (before, after)
    )
    print(
        "\n".join(
            difflib.unified_diff(
                old, new, f"{bucket} as it is", f"{bucket} as it would be", lineterm=""
            )
        )
    )
    if ask("Write this? [y/N] ").strip().lower() not in ("y", "yes"):
        return "Nothing was changed."
    if configuration(s3, bucket) != before:
        return (
            "Nothing was changed: somebody else has changed the notifications meanwhile. Run it"
            " again."
        )
    # Without it S3 would test every destination again, which needs rights on all of them.
    s3.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration=after, SkipDestinationValidation=True
    )
    if configuration(s3, bucket) != after:
        return (
            "S3 has a configuration that differs from the one written; look at it: aws s3api"
            f" get-bucket-notification-configuration --bucket {bucket}"
        )
    return f"{bucket} sends its events to EventBridge."


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bucket")
    bucket = parser.parse_args(argv).bucket
    if not bucket:
        sys.exit("Name the bucket: make upload-events BUCKET=…")
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        print(switch_on(boto3.client("s3"), bucket))
    except (BotoCoreError, ClientError) as err:
        sys.exit(f"error: {err}")


if __name__ == "__main__":
    main()
