"""The stack's runs through AWS's clients, and the cost of a run."""

import json
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

# AWS's list prices in us-east-1 in dollars, November 2026: docs/bulk.md has the sources. Other
# regions differ by some percent.
PRICES: dict[str, float] = json.loads(Path(__file__).with_name("prices.json").read_bytes())
# Express children pay for 64 MB at least.
EXPRESS_GB = 0.064


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
