"""Runs over a bucket's images: start one, watch it, fetch its results."""

import argparse
import contextlib
import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError, NoRegionError

from bulk_results import ATHENA, results
from client import note_single, region
from deployment import Deployment

MANIFESTS = "manifests/"
# Lists of other programs, by how a line begins.
HINTS = [
    (rb"\[", "is a JSON array: write each of its objects on a line of its own"),
    (rb"\{", "has no key"),
    (rb'"[^"]*"\s*,\s*"', "is of an inventory's CSV, whose second column is the URL-encoded key"),
    (rb"", "is no JSON object"),
]
ENDS = {"SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED"}


def checked_manifest(path: Path, bucket: str) -> bytes:
    """Its lines, without empty ones. Raises ValueError with the number of the first line that names
    no key, or another bucket.
    """
    wanted = 'each line must be a JSON object, {"key": "photos/1.jpg"}'
    kept = []
    for number, data in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        if not data.strip():
            continue
        try:
            line = json.loads(data)
        except (ValueError, RecursionError):
            line = data
        if not isinstance(line, dict) or not isinstance(line.get("key"), str) or not line["key"]:
            found = next(hint for pattern, hint in HINTS if re.match(pattern, data.strip()))
            raise ValueError(f"{path}, line {number} {found}; {wanted}.")
        if line.get("bucket") not in (None, bucket):
            found = f"names the bucket {line['bucket']}, and a run reads {bucket} alone"
            raise ValueError(f"{path}, line {number} {found}; {wanted}.")
        kept.append(data.strip() + b"\n")
    if not kept:
        raise ValueError(f"{path} names no image; {wanted}.")
    return b"".join(kept)


def read_request(path: Path) -> dict[str, Any]:
    """Raises ValueError for a file that holds no JSON object."""
    try:
        request = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as err:
        raise ValueError(f"{path} is not JSON in UTF-8 ({err})") from err
    if not isinstance(request, dict):
        raise ValueError(f'{path} must hold a JSON object: {{"labels": ["a dog", "a cat"]}}')
    return request


def start(deployment: Deployment, given: argparse.Namespace) -> None:
    request = read_request(given.request) if given.request else {}
    request |= {
        name: getattr(given, name) for name in ("labels", "classifier") if getattr(given, name)
    }
    note_single(given.labels or [])
    numbers = ("max_concurrency", "tolerated_failure_percentage", "batch_size")
    request |= {name: getattr(given, name) for name in numbers if getattr(given, name) is not None}
    name = given.name or datetime.now(UTC).strftime("run-%Y-%m-%d-%H%M%S")
    if given.manifest:
        key = f"{MANIFESTS}{name}.jsonl"
        body = checked_manifest(given.manifest, deployment.bucket)
        deployment.s3.put_object(Bucket=deployment.bucket, Key=key, Body=body)
        request["manifest"] = key
    else:
        request["prefix"] = given.prefix
    deployment.states.start_execution(
        stateMachineArn=deployment.machine, name=name, input=json.dumps(request)
    )
    print(f"Started {name}. To watch it: examples/bulk.py watch {name}", file=sys.stderr)
    print(name)


def watch(
    deployment: Deployment, given: argparse.Namespace, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Prints a line at each look. After an interruption the same command goes on, since all figures
    come from AWS.
    """
    while True:
        run = deployment.describe(given.run)
        found = deployment.map_run(given.run)
        now = run.get("stopDate") or datetime.now(UTC)
        if found:
            counts = found["itemCounts"]
            elapsed = max(1.0, (now - run["startDate"]).total_seconds())
            done = counts["succeeded"]
            failed = counts["failed"] + counts["timedOut"] + counts["aborted"]
            total = counts["total"]
            rate = (done + failed) / elapsed
            left = (total - done - failed) / rate if rate else 0
            cost = deployment.cost(
                run["startDate"], now, done, found["executionCounts"]["succeeded"]
            )
            text = f"{done:,} of {total:,} done, {failed:,} failed, {rate:,.1f} a second"
            remaining = "" if run["status"] in ENDS else f", {left / 60:,.0f} minutes left"
            print(
                f"{run['status']}: {text}{remaining}, about ${cost:,.4f} so far (an estimate)",
                flush=True,
            )
        if run["status"] in ENDS:
            break
        sleep(given.every)
    if run["status"] != "SUCCEEDED":
        cause = run.get("cause") or ""
        with contextlib.suppress(ValueError, KeyError, TypeError):
            cause = json.loads(cause)["errorMessage"]
        again = (
            ""
            if run.get("error") == "RunRefused"
            else (
                "\nWhat failed is run again by: aws stepfunctions redrive-execution"
                " --execution-arn " + deployment.execution(given.run)
            )
        )
        sys.exit(f"{run['status']}: {run.get('error') or ''} {cause}{again}")


def argument_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--stack", default="clip-classifier", help="the deployment's setting `name`"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("start", help="start a run and print its name")
    where = one.add_mutually_exclusive_group(required=True)
    where.add_argument("--prefix", help="under the setting bulk_prefix")
    where.add_argument(
        "--manifest", type=Path, help='a local file with a line {"key": "…"} for each image'
    )
    what = one.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--labels",
        type=lambda text: [label.strip() for label in text.split(",")],
        help='"a dog,a cat"',
    )
    what.add_argument("--classifier", help="the name of a deployed classifier")
    what.add_argument(
        "--request",
        type=Path,
        help="a JSON file with labels, categories or classifier, and any other option of the API",
    )
    for name in ("max-concurrency", "tolerated-failure-percentage", "batch-size"):
        one.add_argument(f"--{name}", type=int)
    one.add_argument("--name", help="default: by date and time")
    two = commands.add_parser("watch", help="show progress until the run ends")
    two.add_argument("run")
    two.add_argument(
        "--every", type=float, default=10, help="seconds between two looks; default: 10"
    )
    three = commands.add_parser("results", help="sum up by label, and fetch one file")
    three.add_argument("run")
    three.add_argument("--output", type=Path, help="….csv or ….jsonl")
    three.add_argument(
        "--failed", type=Path, help="write a manifest of what had an error, for another start"
    )
    three.add_argument("--top", type=int, default=20, help="labels to show; default: 20")
    four = commands.add_parser("athena", help="print the table's definition and a query for Athena")
    four.add_argument("run")
    return parser


def aws_client(service: str) -> Any:
    return boto3.client(service, region_name=region())


def main(argv: Sequence[str] | None = None, make: Callable[[str], Any] = aws_client) -> None:
    parser = argument_parser()
    given = parser.parse_args(argv)
    if (
        given.command == "results"
        and given.output
        and given.output.suffix not in (".csv", ".jsonl")
    ):
        parser.error("--output must end in .csv or .jsonl")
    try:
        deployment = Deployment(given.stack, make)
        if given.command == "athena":
            print(ATHENA.format(bucket=deployment.bucket, run=given.run))
        else:
            {"start": start, "watch": watch, "results": results}[given.command](deployment, given)
    except NoRegionError:
        sys.exit("No region is set. Name the deployment's: export AWS_REGION=eu-central-1")
    except (BotoCoreError, ClientError, OSError, ValueError) as err:
        sys.exit(f"error: {err}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
