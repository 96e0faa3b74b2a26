from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import bulk
from tests.support.runs import BUCKET, REGION

ARN = f"arn:aws:states:{REGION}:123456789012:stateMachine:runs"


START = datetime(2026, 11, 25, 12, tzinfo=UTC)


class Aws:
    """Answers as AWS documents them; S3 is moto's."""

    def __init__(self, s3: Any, looks: list[dict[str, Any]] | None = None, **outputs: str) -> None:
        self.s3 = s3
        self.looks = looks or []
        self.started = list[dict[str, Any]]()
        self.outputs = outputs or {
            "BulkStateMachine": ARN,
            "BulkBucket": BUCKET,
            "BulkFunction": "bulk",
        }

    def __call__(self, service: str) -> Any:
        return self.s3 if service == "s3" else self

    def describe_stacks(self, StackName: str) -> dict[str, Any]:  # noqa: N803
        return {
            "Stacks": [
                {
                    "Outputs": [
                        {"OutputKey": key, "OutputValue": value}
                        for key, value in self.outputs.items()
                    ]
                }
            ]
        }

    def start_execution(self, **given: Any) -> None:
        self.started.append(given)

    def describe_execution(self, executionArn: str) -> dict[str, Any]:  # noqa: N803
        assert executionArn == f"arn:aws:states:{REGION}:123456789012:execution:runs:r"
        look = self.looks[0]
        stop = (
            {"stopDate": START + timedelta(seconds=look["at"])}
            if look["status"] != "RUNNING"
            else {}
        )
        return {"status": look["status"], "startDate": START, **stop, **look.get("more", {})}

    def list_map_runs(self, executionArn: str) -> dict[str, Any]:  # noqa: N803
        return {"mapRuns": [{"mapRunArn": "m"}] if self.looks[0].get("done") is not None else []}

    def describe_map_run(self, mapRunArn: str) -> dict[str, Any]:  # noqa: N803
        look = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        zero = {"failed": 0, "timedOut": 0, "aborted": 0, "pending": 0, "running": 0}
        return {
            "itemCounts": {
                **zero,
                "total": 1000,
                "succeeded": look["done"],
                "failed": look.get("failed", 0),
            },
            "executionCounts": {**zero, "total": 10, "succeeded": look["done"] // 100},
        }

    def get_metric_statistics(self, **given: Any) -> dict[str, Any]:
        assert given["Period"] % 60 == 0
        return {"Datapoints": [{"Sum": 50_000.0 if given["MetricName"] == "Duration" else 10.0}]}

    def get_function_configuration(self, FunctionName: str) -> dict[str, Any]:  # noqa: N803
        return {"MemorySize": 1024}


THRESHOLDS = {"a dog": {"keep": 0.5}}


def status(*arguments: object, make: Callable[[str], Any]) -> str | int | None:
    try:
        bulk.main([str(argument) for argument in arguments], make)
    except SystemExit as err:
        return err.code
    return None
