import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import bulk
import deployment
from tests.support.bulk_example import Aws, status
from tests.support.requests import ROOT
from tests.support.runs import BUCKET, lines


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
    bulk.watch(deployment.Deployment("clip", there), given, wait)
    assert waits == [3]
    # 50 s at 1 GB and 0.064 GB, 10 invocations, 980 reads, 9 batches.
    cost = 50 * (0.0000133334 + 0.064 * 0.00001667) + 10 * 2e-7 + 980 * 4e-7 + 9 * 31e-6
    expected = (
        f"SUCCEEDED: 980 of 1,000 done, 20 failed, 10.0 a second, about ${cost:,.4f} so far (an"
        " estimate)\n"
    )
    assert capsys.readouterr().out == expected


def test_athena_gets_a_table_partitioned_by_run(
    run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status("athena", "r", make=Aws(run)) is None
    text = capsys.readouterr().out
    assert f"'s3://{BUCKET}/results/${{run}}/'" in text
    assert "PARTITIONED BY (run string)" in text
    assert "run = 'r'" in text


def test_no_results_yet_is_said(run: Any, tmp_path: Path) -> None:
    assert status("results", "none", make=Aws(run)) == "There are no results of none yet."
    assert status("results", "r", "--output", tmp_path / "r.txt", make=Aws(run)) == 2


def test_the_prices_are_those_of_the_page() -> None:
    page = (ROOT / "docs" / "bulk.md").read_text(encoding="utf-8")
    for price in ("0.0000133334", "0.00001667", "0.40", "5.00", "25.00", "1.00", "0.20"):
        assert f"${price}" in page
