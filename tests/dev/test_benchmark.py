import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from classifier.api.handler import Handler
from dev.benchmark import charts
from dev.benchmark.charts import STEPS
from dev.benchmark.endpoint import cost_per_1000, measure
from dev.benchmark.start import once
from tests.support.requests import DEMO, ROOT
from tools.local.serve import running


def test_an_endpoint_is_measured_by_number_of_labels(handler: Handler) -> None:
    with running(handler) as url:
        figures = measure(url, "key", calls=2, memory=3008)
    for kind in ("seen", "new"):
        for count in (1, 5, 9):
            p50, p99 = (
                float(figures[f"{kind}_{count}_labels_{share}_ms"]) for share in ("p50", "p99")
            )
            assert 0 < p50 <= p99
            assert float(figures[f"{kind}_{count}_labels_image_p50_ms"]) > 0
            assert (
                float(figures[f"{kind}_{count}_labels_estimated_cost_per_1000_images_usd"]) > 0.0037
            )
    assert not [name for name in figures if name.startswith("errors")]


def test_an_endpoint_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="check URL and KEY"):
        measure("http://127.0.0.1:9/", "key", calls=1, memory=3008)


def test_the_cost_is_compute_and_request_and_gateway() -> None:
    # 100 ms at 1,024 MB: 0.1 GB-seconds a call.
    assert cost_per_1000(100, 1024) == pytest.approx(
        1000 * (0.1 * 0.0000133334 + 0.0000002 + 0.0000035)
    )


AWS = """#!/bin/sh
echo "$@" >> "$FOLDER/calls"
case "$2" in
list-provisioned-concurrency-configs) cat "$FOLDER/provisioned" ;;
get-function-configuration) echo '{"CLIP_BUNDLE": "/var/task/bundle"}' ;;
update-function-configuration)
  if test -e "$FOLDER/denied"; then
    echo "An error occurred (AccessDeniedException) when calling" >&2; exit 254
  fi ;;
esac
"""


@pytest.fixture
def account(tmp_path: Path) -> Path:
    """A folder with a stand-in for AWS's command line, which keeps its calls there."""
    (tmp_path / "aws").write_text(AWS)
    (tmp_path / "aws").chmod(0o755)
    (tmp_path / "provisioned").touch()
    return tmp_path


def cold_starts(folder: Path, url: str, answer: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "dev.benchmark.endpoint",
        "--url",
        url,
        "--function",
        "clip",
        "--cold-starts",
        "3",
    ]
    variables = os.environ | {
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "FOLDER": str(folder),
    }
    return subprocess.run(
        command, cwd=ROOT, env=variables, input=answer, capture_output=True, text=True, check=False
    )


def changes(folder: Path) -> list[dict[str, str]]:
    """The environments that the function was given, each of them waited for."""
    calls = (folder / "calls").read_text().splitlines() if (folder / "calls").exists() else []
    updates = [
        i for i, call in enumerate(calls) if call.startswith("lambda update-function-configuration")
    ]
    assert all(calls[i + 1] == "lambda wait function-updated --function-name clip" for i in updates)
    return [
        json.loads(calls[i].partition("--environment ")[2].rpartition(" --query")[0])["Variables"]
        for i in updates
    ]


def test_each_cold_start_has_an_environment_of_its_own_and_the_old_one_comes_back(
    account: Path, handler: Handler
) -> None:
    with running(handler) as url:
        done = cold_starts(account, url, "y\n")
    assert done.returncode == 0, done.stderr
    old = {"CLIP_BUNDLE": "/var/task/bundle"}
    assert changes(account) == [*(old | {"COLD_START": str(i)} for i in range(3)), old]
    assert "first calls: median" in done.stdout
    assert sum(int(line.split()[4]) for line in done.stdout.splitlines()[1:]) == 3


def test_nothing_is_changed_without_a_yes_or_if_environments_are_kept_warm(
    account: Path,
) -> None:
    assert cold_starts(account, "http://127.0.0.1:9/", "\n").stderr == "Nothing was changed.\n"
    (account / "provisioned").write_text("READY")
    assert (
        "has provisioned concurrency" in cold_starts(account, "http://127.0.0.1:9/", "y\n").stderr
    )
    assert changes(account) == []


def test_the_environment_comes_back_if_the_endpoint_gives_no_answer(account: Path) -> None:
    assert "check URL and KEY" in cold_starts(account, "http://127.0.0.1:9/", "y\n").stderr
    assert changes(account)[-1] == {"CLIP_BUNDLE": "/var/task/bundle"}


def test_a_denied_change_is_said_with_awss_code(account: Path) -> None:
    (account / "denied").touch()
    done = cold_starts(account, "http://127.0.0.1:9/", "y\n")
    assert (
        done.returncode,
        "AccessDeniedException" in done.stderr,
        "Traceback" in done.stderr,
    ) == (1, True, False)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_start_is_measured_step_by_step() -> None:
    run = once(DEMO, cold=False)
    own = [run["spans"][name] for name in STEPS[0]]
    assert own[0][0] == pytest.approx(0, abs=0.01)
    assert all(first < last for first, last in run["spans"].values())
    assert all(before[1] <= after[0] for before, after in pairwise(own))
    # The encoders begin to load before the rest is imported.
    for (name,) in STEPS[1:]:
        assert run["spans"][name][0] <= run["spans"]["the other imports"][0]
    assert own[-1][1] <= run["seconds"] + 0.05
    assert run["files"] > 100 and 50 < run["peak_mb"] < 1000
    (axes,) = charts.start({"warm": run}, "two cores").axes
    drawn = {bar.get_label(): bar.patches[0] for bar in axes.containers}
    assert list(drawn) == [name for line in STEPS for name in line]
    for name, patch in drawn.items():
        assert (patch.get_x(), patch.get_x() + patch.get_width()) == pytest.approx(
            run["spans"][name]
        )


def test_a_bar_of_the_comparison_is_as_long_as_its_figure(tmp_path: Path) -> None:
    figures: dict[str, float | str] = {
        "machine": "two & a half cores",
        "image_precision": "int14",
        "text_precision": "fp32",
    }
    for n in (1, 5, 9):
        for factor, key in enumerate(("cached", "new", "original_without_duplicate", "original")):
            figures[f"{key}_{n}_labels_ms"] = 10.0 * n * (factor + 1)
    figures |= {
        "image_holding_ms": 12.0,
        "outside_encoders_ms": 3.0,
        "start_to_first_answer_s": 0.7,
        "original_start_to_first_answer_s": 4,
    }
    chart = charts.comparison(figures)
    lengths = [
        dict(
            zip(
                (label.get_text() for label in axes.get_yticklabels()),
                (bar.get_width() for bar in axes.patches),
                strict=True,
            )
        )
        for axes in chart.axes
    ]
    assert len(lengths[0]) == 12
    assert lengths[0]["original, 9 labels"] == 360
    assert lengths[0]["this project, labels seen before, 1 label"] == 10
    assert lengths[1] == {
        "image encoder, int14": 12,
        "text encoder, fp32, 9 labels never seen": 90,
        "all outside the encoders": 3,
    }
    assert lengths[2] == {"original": 4, "this project": 0.7}
    charts.save(chart, tmp_path / "chart.svg")
    assert "<svg" in (tmp_path / "chart.svg").read_text(encoding="utf-8")


def test_a_side_measures_in_a_process_of_its_own() -> None:
    # As the command starts it: what a spawned process can't import from the command's own module
    # shows only there.
    program = (
        "import functools, pathlib; from dev.benchmark.api import main;"
        " from dev.benchmark.operations import ours, thumbnail;"
        " from dev.benchmark.side import Side;"
        " print(Side(functools.partial(ours, pathlib.Path('models/demo')), thumbnail())('outside',"
        " None, 3))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert len(json.loads(done.stdout)) == 3


def test_the_benchmark_itself_loads_without_torch() -> None:
    # Its memory and start-up are the handler's only if the measuring process adds nothing of its
    # own.
    program = "import sys; sys.modules['torch'] = None; import dev.benchmark.api"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
