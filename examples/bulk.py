"""Runs over a bucket's pictures: start one, watch it, fetch its results."""

import argparse
import contextlib
import csv
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from client import region

# AWS's list prices in us-east-1 in dollars, November 2026: docs/bulk.md has the sources. Other
# regions differ by some percent.
PRICES: dict[str, float] = json.loads(Path(__file__).with_name("prices.json").read_bytes())
# Express children pay for 64 MB at least.
EXPRESS_GB = 0.064
MANIFESTS = "manifests/"
# Lists of other programs, by how a line begins.
HINTS = [
    (rb"\[", "is a JSON array: write each of its objects on a line of its own"),
    (rb"\{", "has no key"),
    (rb'"[^"]*"\s*,\s*"', "is of an inventory's CSV, whose second column is the URL-encoded key"),
    (rb"", "is no JSON object"),
]
ENDS = {"SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED"}
ATHENA = """-- One table for all runs of this deployment. A query names its run, reads that alone.
CREATE EXTERNAL TABLE IF NOT EXISTS classified (
  key string, etag string, size bigint, version_id string, model string,
  result map<string,double>,
  decision struct<
    labels:array<struct<name:string,probability:double,threshold:double,action:string>>,
    action:string>,
  error struct<message:string,code:string>,
  skipped string
)
PARTITIONED BY (run string)
ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'
LOCATION 's3://{bucket}/results/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.run.type' = 'injected',
  'storage.location.template' = 's3://{bucket}/results/${{run}}/'
);

-- The best label of each picture, counted. The run's request.json is the row without a key.
SELECT best.label, count(*) AS pictures
FROM (
  SELECT element_at(array_sort(map_entries(result),
    (a, b) -> IF(a[2] > b[2], -1, IF(a[2] < b[2], 1, 0))), 1)[1] AS label
  FROM classified WHERE run = '{run}' AND key IS NOT NULL AND result IS NOT NULL
) AS best
GROUP BY 1 ORDER BY 2 DESC;
"""


class Deployment:
    """The stack's outputs, and AWS's clients."""

    def __init__(self, stack: str, make: Callable[[str], Any]) -> None:
        self.states, self.s3, self.metrics, self.functions = (
            make(name) for name in ("stepfunctions", "s3", "cloudwatch", "lambda")
        )
        outputs = (
            make("cloudformation").describe_stacks(StackName=stack)["Stacks"][0].get("Outputs", [])
        )
        found = {entry["OutputKey"]: entry["OutputValue"] for entry in outputs}
        if "BulkStateMachine" not in found:
            sys.exit(
                f'The stack {stack} has no runs; deploy it with SETTINGS="bulk_bucket=create", or'
                " with a bucket's name."
            )
        self.machine, self.bucket, self.function = (
            found[f"Bulk{name}"] for name in ("StateMachine", "Bucket", "Function")
        )

    def execution(self, run: str) -> str:
        return f"{self.machine.replace(':stateMachine:', ':execution:')}:{run}"

    def describe(self, run: str) -> dict[str, Any]:
        found: dict[str, Any] = self.states.describe_execution(executionArn=self.execution(run))
        return found

    def map_run(self, run: str) -> dict[str, Any] | None:
        """The newest one: a redrive goes on with the same."""
        runs = self.states.list_map_runs(executionArn=self.execution(run))["mapRuns"]
        return self.states.describe_map_run(mapRunArn=runs[0]["mapRunArn"]) if runs else None

    def files(self, run: str) -> Iterator[str]:
        for page in self.s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=f"results/{run}/"
        ):
            yield from (
                entry["Key"]
                for entry in page.get("Contents", [])
                if entry["Key"].endswith(".jsonl")
            )

    def lines(self, run: str) -> Iterator[dict[str, Any]]:
        for key in self.files(run):
            body = self.s3.get_object(Bucket=self.bucket, Key=key)["Body"]
            for line in body.iter_lines():
                yield json.loads(line)

    def cost(self, begin: datetime, end: datetime, images: int, batches: int) -> float:
        """An estimate in dollars, from CloudWatch's times and the numbers of requests."""
        period = max(60, -(-int((end - begin).total_seconds()) // 1440) // 60 * 60 + 60)
        seconds = {}
        for name in ("Duration", "Invocations"):
            points = self.metrics.get_metric_statistics(
                Namespace="AWS/Lambda",
                MetricName=name,
                Dimensions=[{"Name": "FunctionName", "Value": self.function}],
                StartTime=begin,
                EndTime=end,
                Period=period,
                Statistics=["Sum"],
            )["Datapoints"]
            seconds[name] = sum(point["Sum"] for point in points)
        memory = (
            self.functions.get_function_configuration(FunctionName=self.function)["MemorySize"]
            / 1024
        )
        spent = seconds["Duration"] / 1000
        return price(spent, memory, seconds["Invocations"], images, batches)


def price(seconds: float, gigabytes: float, calls: float, images: float, batches: float) -> float:
    """Dollars for a run: the function's seconds, memory and calls, reading the images, and for each
    batch a result, a transition and an Express child. A listing has 1,000 images.
    """
    compute = gigabytes * PRICES["gb_second"] + EXPRESS_GB * PRICES["express_gb_second"]
    batch = PRICES["s3_put_or_list"] + PRICES["transition"] + PRICES["express_start"]
    image = PRICES["s3_get"] + PRICES["s3_put_or_list"] / 1000
    return seconds * compute + calls * PRICES["lambda_request"] + images * image + batches * batch


def checked_manifest(path: Path) -> bytes:
    """Its lines, without empty ones. Raises ValueError with the number of the first line that names
    no key.
    """
    wanted = 'each line must be a JSON object, {"key": "photos/1.jpg"}'
    kept = []
    for number, data in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        if not data.strip():
            continue
        try:
            line = json.loads(data)
        except ValueError:
            line = data
        if not isinstance(line, dict) or not isinstance(line.get("key"), str) or not line["key"]:
            found = next(hint for pattern, hint in HINTS if re.match(pattern, data.strip()))
            raise ValueError(f"{path}, line {number} {found}; {wanted}.")
        kept.append(data.strip() + b"\n")
    if not kept:
        raise ValueError(f"{path} names no picture; {wanted}.")
    return b"".join(kept)


def start(deployment: Deployment, given: argparse.Namespace) -> None:
    request = json.loads(given.request.read_bytes()) if given.request else {}
    if not isinstance(request, dict):
        wanted = '{"labels": ["a dog", "a cat"]}'
        raise ValueError(f"{given.request} must hold a JSON object: {wanted}")
    request |= {
        name: getattr(given, name) for name in ("labels", "classifier") if getattr(given, name)
    }
    numbers = ("max_concurrency", "tolerated_failure_percentage", "batch_size")
    request |= {name: getattr(given, name) for name in numbers if getattr(given, name) is not None}
    name = given.name or datetime.now(UTC).strftime("run-%Y-%m-%d-%H%M%S")
    if given.manifest:
        key = f"{MANIFESTS}{name}.jsonl"
        body = checked_manifest(given.manifest)
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
    """Prints one line a look. Interrupted, it goes on with the same command: all of it is asked of
    AWS.
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


def results(deployment: Deployment, given: argparse.Namespace) -> None:
    """Sums up by best label; writes one file where asked."""
    best: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    decided: Counter[str] = Counter()
    for path in filter(None, (given.output, given.failed)):
        path.parent.mkdir(parents=True, exist_ok=True)
    failed = given.failed.open("w", encoding="utf-8") if given.failed else None
    partial = given.output.with_name(given.output.name + ".partial") if given.output else None
    out = partial.open("w", encoding="utf-8", newline="") if partial else None
    rows = csv.writer(out) if out and given.output.suffix == ".csv" else None
    if rows:
        rows.writerow(
            [
                "key",
                "etag",
                "size",
                "label",
                "probability",
                "result",
                "action",
                "counts",
                "error",
                "skipped",
            ]
        )
    for line in deployment.lines(given.run):
        kind = next(kind for kind in ("error", "skipped", "result") if kind in line)
        kinds[kind] += 1
        top = (
            max(line["result"].items(), key=lambda pair: pair[1])
            if line.get("result")
            else ("", "")
        )
        if kind == "result":
            best[top[0] or "none"] += 1
        decision = line.get("decision", {"labels": [], "action": None})
        counts = [entry["name"] for entry in decision["labels"]]
        if "decision" in line:
            decided.update([decision["action"]] if decision["action"] else counts or ["none"])
        if rows:
            error = line.get("error", {}).get("message", "")
            values = [
                line["key"],
                line["etag"],
                line["size"],
                *top,
                json.dumps(line.get("result")),
                decision["action"] or "",
                ";".join(counts),
                error,
                line.get("skipped", ""),
            ]
            rows.writerow(values)
        elif out:
            out.write(json.dumps(line, ensure_ascii=False) + "\n")
        if failed and kind == "error" and line["key"]:
            failed.write(json.dumps({"key": line["key"]}) + "\n")
    for file in (out, failed):
        if file:
            file.close()
    if partial:
        partial.replace(given.output)
    if not kinds:
        sys.exit(f"There are no results of {given.run} yet.")
    print(
        f"{kinds['result']:,} classified, {kinds['error']:,} with an error, {kinds['skipped']:,}"
        " skipped"
    )
    for title, counter in (("best label", best), ("decision", decided)):
        if counter:
            print(f"By {title}:")
        for label, count in counter.most_common(given.top):
            print(f"{count:>12,}  {label}")


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
        "--manifest", type=Path, help='a local file with a line {"key": "…"} for each picture'
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
    except (BotoCoreError, ClientError, OSError, ValueError) as err:
        sys.exit(f"error: {err}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
