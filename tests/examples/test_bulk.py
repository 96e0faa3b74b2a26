"""examples/bulk.py against a run on moto, and AWS's documented answers that moto doesn't give."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import bulk
from classifier.bulk import BulkHandler
from classifier.model.encoders import Encoders
from classifier.storage.bucket import Bucket
from tests.support.pictures import encoded, picture
from tests.support.requests import ROOT
from tests.support.runs import BUCKET, REGION, Machine, aws, lines, put

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


@pytest.fixture
def run(encoders: Encoders) -> Iterator[Any]:
    """A finished run named r."""
    with aws() as s3:
        for i in range(12):
            put(f"images/{i:02}.jpg", encoded(picture(60, 40, seed=i), "JPEG"))
        put("images/dog.jpg", (ROOT / "examples" / "images" / "dog.jpg").read_bytes())
        put("images/bad.jpg", b"no picture")
        put("images/a.txt", b"text")
        Machine(s3, BulkHandler(encoders, Bucket(BUCKET, "images/"))).run(
            "r",
            {
                "prefix": "images/",
                "labels": ["a dog", "food"],
                "actions": ["keep"],
                "thresholds": THRESHOLDS,
                "batch_size": 5,
            },
        )
        yield s3


def status(*arguments: object, make: Callable[[str], Any]) -> str | int | None:
    try:
        bulk.main([str(argument) for argument in arguments], make)
    except SystemExit as err:
        return err.code
    return None


def test_start_sends_what_the_state_machine_takes(
    run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = Aws(run)
    assert (
        status(
            "start",
            "--prefix",
            "images/",
            "--labels",
            "a dog,food",
            "--max-concurrency",
            "50",
            "--name",
            "n",
            make=there,
        )
        is None
    )
    assert capsys.readouterr().out == "n\n"
    (given,) = there.started
    assert (given["stateMachineArn"], given["name"]) == (ARN, "n")
    assert json.loads(given["input"]) == {
        "labels": ["a dog", "food"],
        "max_concurrency": 50,
        "prefix": "images/",
    }


def test_a_run_may_ask_by_a_classifiers_name(run: Any) -> None:
    there = Aws(run)
    assert (
        status("start", "--prefix", "images/", "--classifier", "mine", "--name", "n", make=there)
        is None
    )
    assert json.loads(there.started[0]["input"]) == {"classifier": "mine", "prefix": "images/"}


def test_what_had_an_error_is_a_manifest_for_another_run(run: Any, tmp_path: Path) -> None:
    there = Aws(run)
    again = tmp_path / "again.jsonl"
    assert status("results", "r", "--failed", again, make=there) is None
    assert again.read_text(encoding="utf-8") == '{"key": "images/bad.jpg"}\n'
    assert (
        status("start", "--manifest", again, "--labels", "a,b", "--name", "n2", make=there) is None
    )
    assert json.loads(there.started[0]["input"])["manifest"] == "manifests/n2.jsonl"
    assert (
        run.get_object(Bucket=BUCKET, Key="manifests/n2.jsonl")["Body"].read() == again.read_bytes()
    )


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_results_are_summed_up_and_fetched_as_one_file(
    run: Any, tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / f"results.{form}"
    assert status("results", "r", "--output", output, make=Aws(run)) is None
    said = capsys.readouterr().out
    assert said.startswith("13 classified, 1 with an error, 1 skipped\nBy best label:\n")
    decided = Counter(
        line["decision"]["action"] or "none" for line in lines(run, "r") if "decision" in line
    )
    assert 0 < decided["keep"] < 13
    assert said.endswith(
        "By decision:\n"
        + "".join(f"{count:>12,}  {name}\n" for name, count in decided.most_common())
    )
    rows = output.read_text(encoding="utf-8").splitlines()
    assert len(rows) == (15 if form == "jsonl" else 16)
    (dog,) = [row for row in rows if "images/dog.jpg" in row]
    assert (
        ",keep,a dog,," in dog if form == "csv" else json.loads(dog)["decision"]["action"] == "keep"
    )
    assert not list(tmp_path.glob("*.partial"))


def test_watch_shows_done_failed_rate_time_left_and_cost_until_the_end(
    run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    looks = [
        {"status": "RUNNING", "at": 0},
        {"status": "SUCCEEDED", "at": 100, "done": 980, "failed": 20},
    ]
    waits: list[float] = []
    there = Aws(run, looks)

    def wait(seconds: float) -> None:
        waits.append(seconds)
        there.looks.pop(0)

    given = bulk.argument_parser().parse_args(["watch", "r", "--every", "3"])
    bulk.watch(bulk.Deployment("clip", there), given, wait)
    assert waits == [3]
    # 50 s at 1 GB and 0.064 GB, 10 invocations, 980 reads, 9 batches.
    cost = 50 * (0.0000133334 + 0.064 * 0.00001667) + 10 * 2e-7 + 980 * 4e-7 + 9 * 31e-6
    expected = (
        f"SUCCEEDED: 980 of 1,000 done, 20 failed, 10.0 a second, about ${cost:,.4f} so far (an"
        " estimate)\n"
    )
    assert capsys.readouterr().out == expected


def test_a_refused_run_ends_with_its_reason_and_a_failed_one_with_how_to_go_on(run: Any) -> None:
    cause = json.dumps({"errorMessage": "labels is missing", "errorType": "RunRefused"})
    refused = Aws(
        run, [{"status": "FAILED", "at": 1, "more": {"error": "RunRefused", "cause": cause}}]
    )
    assert status("watch", "r", make=refused) == "FAILED: RunRefused labels is missing"
    failed = Aws(
        run,
        [
            {
                "status": "FAILED",
                "at": 1,
                "done": 5,
                "more": {"error": "States.ExceedToleratedFailureThreshold", "cause": "x"},
            }
        ],
    )
    assert "aws stepfunctions redrive-execution --execution-arn" in str(
        status("watch", "r", make=failed)
    )


def test_athena_gets_a_table_partitioned_by_run(
    run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status("athena", "r", make=Aws(run)) is None
    text = capsys.readouterr().out
    assert f"'s3://{BUCKET}/results/${{run}}/'" in text
    assert "PARTITIONED BY (run string)" in text
    assert "run = 'r'" in text


def test_a_deployment_without_a_bucket_says_how_to_get_one(run: Any) -> None:
    assert "bulk_bucket=create" in str(status("watch", "r", make=Aws(run, Url="https://…")))


def test_no_results_yet_is_said(run: Any, tmp_path: Path) -> None:
    assert status("results", "none", make=Aws(run)) == "There are no results of none yet."
    assert status("results", "r", "--output", tmp_path / "r.txt", make=Aws(run)) == 2


def test_the_prices_are_those_of_the_page() -> None:
    page = (ROOT / "docs" / "bulk.md").read_text(encoding="utf-8")
    for price in ("0.0000133334", "0.00001667", "0.40", "5.00", "25.00", "1.00", "0.20"):
        assert f"${price}" in page


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("photos/1.jpg\n", "line 1 is no JSON object; each line must be"),
        ('{"key": "a"}\n\nphotos/1.jpg\n', "line 3 is no JSON object"),
        ('[{"key": "photos/1.jpg"}]', "line 1 is a JSON array"),
        ('"b","photos/1%2B2.jpg"\n', "line 1 is of an inventory's CSV"),
        ('{"Key": "a"}\n', "line 1 has no key"),
        ('{"key": 5}\n', "line 1 has no key"),
        ('{"key": ""}\n', "line 1 has no key"),
        ("5\n", "line 1 is no JSON object"),
        ("\ufffe", "line 1 is no JSON object"),
        ("", "names no picture"),
        ("\n \n", "names no picture"),
    ],
)
def test_a_manifest_of_another_form_starts_nothing(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(f"{path}")) as refused:
        bulk.checked_manifest(path)
    assert message in str(refused.value)
    assert '{"key": "photos/1.jpg"}' in str(refused.value)


def test_empty_lines_and_what_windows_adds_are_left_out_of_a_manifest(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(b'\xef\xbb\xbf{"key": "a"}\r\n\r\n {"key": "\xc3\xa4", "etag": "x"} ')
    assert bulk.checked_manifest(path) == b'{"key": "a"}\n{"key": "\xc3\xa4", "etag": "x"}\n'
