"""examples/bulk.py against a run on moto, and AWS's documented answers that moto doesn't give."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

import bulk
from tests.support.bulk_example import ARN, Aws, status
from tests.support.runs import BUCKET


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


def test_a_deployment_without_a_bucket_says_how_to_get_one(run: Any) -> None:
    assert "bulk_bucket=create" in str(status("watch", "r", make=Aws(run, Url="https://…")))


@pytest.mark.parametrize("text", ["labels", "", "[" * 100_000])
def test_a_request_that_is_not_json_is_refused_by_its_name(
    text: str, run: Any, tmp_path: Path
) -> None:
    path = tmp_path / "request.json"
    path.write_text(text)
    error = status("start", "--prefix", "images/", "--request", path, make=Aws(run))
    assert f"error: {path} is not JSON in UTF-8" in str(error)


def test_without_a_region_it_says_how_to_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    assert "export AWS_REGION=eu-central-1" in str(status("watch", "r", make=bulk.aws_client))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("photos/1.jpg\n", "line 1 is no JSON object; each line must be"),
        ('{"key": "a"}\n\nphotos/1.jpg\n', "line 3 is no JSON object"),
        ('[{"key": "photos/1.jpg"}]', "line 1 is a JSON array"),
        ('"b","photos/1%2B2.jpg"\n', "line 1 is of an inventory's CSV"),
        ('{"bucket": "b", "key": "a"}\n', "line 1 names the bucket b, and a run reads"),
        ('{"Key": "a"}\n', "line 1 has no key"),
        ('{"key": 5}\n', "line 1 has no key"),
        ('{"key": ""}\n', "line 1 has no key"),
        ("5\n", "line 1 is no JSON object"),
        ("[" * 100_000, "line 1 is a JSON array"),
        ("\ufffe", "line 1 is no JSON object"),
        ("", "names no image"),
        ("\n \n", "names no image"),
    ],
)
def test_a_manifest_of_another_form_starts_nothing(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(f"{path}")) as refused:
        bulk.checked_manifest(path, BUCKET)
    assert message in str(refused.value)
    assert '{"key": "photos/1.jpg"}' in str(refused.value)


def test_empty_lines_and_what_windows_adds_are_left_out_of_a_manifest(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(b'\xef\xbb\xbf{"key": "a"}\r\n\r\n {"key": "\xc3\xa4", "etag": "x"} ')
    assert (
        bulk.checked_manifest(path, BUCKET) == b'{"key": "a"}\n{"key": "\xc3\xa4", "etag": "x"}\n'
    )
