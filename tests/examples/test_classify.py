import csv
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

import classify
import client
from classifier.api.handler import Handler
from tests.support.pictures import encoded, png_header
from tests.support.programs import RecordingHandler, exit_status, response, run_python
from tests.support.requests import ROOT, base64_of
from tools.local.serve import running

SAMPLES = ROOT / "examples" / "images"
MODEL_LINE = f"Model: demo. {client.DEMO_WARNING}\n"
LABELS = ["a dog", "a pizza", "stars, of any colour"]
LABEL_OPTIONS = ["--labels", "a dog,a pizza", "--label", LABELS[2]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures, one in a subfolder, a broken one, and files that aren't pictures."""
    (tmp_path / "more").mkdir()
    for name, sample in (
        ("dog.jpg", "dog.jpg"),
        ("more/pizza.JPG", "pizza.jpg"),
        ("stars.png", "stars-small.png"),
    ):
        (tmp_path / name).write_bytes((SAMPLES / sample).read_bytes())
    (tmp_path / "broken.png").write_bytes(png_header(64, 64))
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / ".hidden.jpg").write_bytes(b"no picture")
    return tmp_path


def test_a_folder_is_answered_like_single_requests_and_only_a_broken_file_fails(
    handler: Handler, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(handler) as url:
        code = exit_status(
            classify.main, folder, "--endpoint", url, *LABEL_OPTIONS, "--output", "json"
        )
        expected = [
            requests.post(
                url,
                json={"image_data": base64_of((SAMPLES / name).read_bytes()), "labels": LABELS},
                timeout=30,
            ).json()
            for name in ("dog.jpg", "pizza.jpg", "stars-small.png")
        ]
    out, err = capsys.readouterr()
    rows = json.loads(out)
    assert [Path(row["file"]).relative_to(folder).as_posix() for row in rows] == [
        "broken.png",
        "dog.jpg",
        "more/pizza.JPG",
        "stars.png",
    ]
    assert [row["result"] for row in rows[1:]] == [answer["result"] for answer in expected]
    assert rows[0]["error"] == "The PNG image is damaged or truncated; send the whole file."
    assert code == "1 of 4 files failed."
    model, skipped = err.splitlines()
    assert f"{model}\n" == MODEL_LINE
    assert skipped == "Passed over, not sent: 1 hidden, 1 suffix .txt."


def test_the_table_is_ranked_and_the_csv_keeps_the_order_of_the_labels(
    handler: Handler, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = folder / "more" / "pizza.JPG"
    missing = folder / "none.jpg"
    arguments = [good, missing, *LABEL_OPTIONS]
    with running(handler) as url:
        assert exit_status(classify.main, *arguments, "--endpoint", url) == "1 of 2 files failed."
        table = capsys.readouterr().out.splitlines()
        exit_status(classify.main, *arguments, "--endpoint", url, "--output", "csv", "--top-k", "1")
    header, best, failed = csv.reader(io.StringIO(capsys.readouterr().out))
    assert table[0].startswith(f"{good}  a pizza ")
    shares = [float(word.rstrip("%")) for word in table[0].split() if word.endswith("%")]
    assert (len(shares), shares) == (3, sorted(shares, reverse=True))
    width = len(str(good))
    assert table[1] == f"{missing!s:<{width}}  error: can't be read: No such file or directory"
    assert header == ["file", *LABELS, "error"]
    assert best == [str(good), "", best[2], "", ""]
    assert shares[0] == round(100 * float(best[2]), 2)
    assert failed == [str(missing), "", "", "", "can't be read: No such file or directory"]


def test_options_are_sent_under_the_names_of_the_api_and_only_if_set(
    handler: Handler, folder: Path
) -> None:
    options = [
        "--templates",
        "a drawing of {}",
        "--templates",
        "a photo of {}, big",
        "--multi-label",
        "--negative-template",
        "nothing",
        "--fit",
        "tiles",
        "--top-k",
        "2",
        "--min-probability",
        "0.01",
    ]
    recorder = RecordingHandler(handler=handler)
    with running(recorder) as url:
        for more in ([], options):
            arguments = [
                folder / "dog.jpg",
                "--endpoint",
                url,
                "--api-key",
                "k",
                *LABEL_OPTIONS,
                *more,
            ]
            assert exit_status(classify.main, *arguments) == 0
    plain, full = (
        {name: value for name, value in body.items() if name != "images"}
        for body in recorder.bodies()
    )
    assert plain == {"labels": LABELS}
    assert full == {
        "labels": LABELS,
        "templates": ["a drawing of {}", "a photo of {}, big"],
        "multi_label": True,
        "negative_template": "nothing",
        "fit": "tiles",
        "top_k": 2,
        "min_probability": 0.01,
    }
    assert recorder.events[0]["headers"]["x-api-key"] == "k"


def test_calls_are_limited_in_bytes_and_answers_stay_in_order(
    handler: Handler, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0)
    for i in range(5):
        Image.fromarray(noise.integers(0, 256, (512, 512, 3), dtype=np.uint8)).save(
            tmp_path / f"{i}.bmp"
        )
    (tmp_path / "3.dog.jpg").write_bytes((SAMPLES / "dog.jpg").read_bytes())
    recorder = RecordingHandler(handler=handler)
    with running(recorder) as url:
        assert (
            exit_status(
                classify.main, tmp_path, "--endpoint", url, *LABEL_OPTIONS, "--output", "json"
            )
            == 0
        )
        whole = json.loads(capsys.readouterr().out)
        assert (
            exit_status(
                classify.main,
                tmp_path,
                "--endpoint",
                url,
                *LABEL_OPTIONS,
                "--output",
                "json",
                "--batch",
                "1",
            )
            == 0
        )
    assert [len(body["images"]) for body in recorder.bodies()] == [3, 3] + [1] * 6
    assert max(len(event["body"]) for event in recorder.events) < client.MAX_BASE64 + 1000
    assert json.loads(capsys.readouterr().out) == whole


@pytest.mark.parametrize(
    ("pictures", "sizes"),
    [
        ([classify.Picture("", "x")] * 130, [64, 64, 2]),
        ([classify.Picture("", "x" * 2_000_000)] * 3, [2, 1]),
        ([classify.Picture("", "x" * 4_000_000)] * 2, [1, 1]),
        ([classify.Picture("", "x", pixels=40_000_000)] * 5, [2, 2, 1]),
        ([], []),
    ],
    ids=["count", "bytes", "one as large as a call", "pixels", "none"],
)
def test_a_batch_stays_within_the_limits_of_the_endpoint(
    pictures: list[classify.Picture], sizes: list[int]
) -> None:
    calls = list(classify.batches(pictures))
    assert [len(batch) for batch in calls] == sizes
    assert [picture for batch in calls for picture in batch] == pictures


def test_a_shrunk_photo_gets_nearly_the_same_answer_as_the_full_one(
    handler: Handler, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Image.open(SAMPLES / "dog.jpg") as dog:
        large = encoded(
            dog.resize((dog.width * 8, dog.height * 8), Image.Resampling.BICUBIC),
            "JPEG",
            quality=95,
        )
    (tmp_path / "dog.jpg").write_bytes(large)
    recorder = RecordingHandler(handler=handler)
    with running(recorder) as url:
        assert (
            exit_status(
                classify.main, tmp_path, "--endpoint", url, *LABEL_OPTIONS, "--output", "json"
            )
            == 0
        )
        whole = requests.post(
            url, json={"image_data": base64_of(large), "labels": LABELS}, timeout=30
        ).json()["result"]
    result = json.loads(capsys.readouterr().out)[0]["result"]
    assert len(recorder.bodies()[0]["images"][0]) < len(large) / 4
    assert result == pytest.approx(whole, abs=0.02)
    assert result != whole


def test_a_file_too_large_for_any_call_is_reported_and_not_sent(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(bytes(3_100_000))
    row = classify.read(path)
    assert (row.encoded, row.error) == (
        "",
        "has 3.1 MB and couldn't be shrunk here; at most 3.0 MB can be sent. Shrink it first.",
    )


def test_a_file_name_that_is_not_utf_8_can_be_printed() -> None:
    assert classify.read(Path(os.fsdecode(b"none\xff.png"))).name.encode() == b"none\\xff.png"


def test_a_busy_endpoint_is_retried_after_its_retry_after_or_ever_longer_waits(
    handler: Handler,
    backoff: type[client.Backoff],
    waits: list[float],
    capsys: pytest.CaptureFixture[str],
) -> None:
    recorder = RecordingHandler(
        response(429, Retry_After="7"),
        response(503),
        response(500),
        response(429, Retry_After="86400"),
        handler=handler,
    )
    with running(recorder) as url:
        code = exit_status(
            classify.main, SAMPLES / "dog.jpg", "--endpoint", url, *LABEL_OPTIONS, backoff=backoff
        )
    assert code == 0
    assert len(recorder.events) == 5
    assert len({event["body"] for event in recorder.events}) == 1
    assert (waits[0], waits[3]) == (7, 60)
    assert 1 <= waits[1] <= 2 <= waits[2] <= 4
    assert "a dog" in capsys.readouterr().out


def test_a_client_error_is_not_retried_and_ends_the_run(
    handler: Handler,
    backoff: type[client.Backoff],
    waits: list[float],
    capsys: pytest.CaptureFixture[str],
) -> None:
    recorder = RecordingHandler(handler=handler)
    arguments = [SAMPLES, "--batch", "1", "--labels", "a dog,A Dog", "--output", "json"]
    with running(recorder) as url:
        message = exit_status(classify.main, *arguments, "--endpoint", url, backoff=backoff)
    assert (
        message
        == 'The endpoint answered 400: labels.0 "a dog" and labels.1 "A Dog" are the same to the'
        " model; remove one."
    )
    assert (len(recorder.events), waits, capsys.readouterr().out) == (1, [], "[]\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([str(SAMPLES)], "labels are missing"),
        ([str(ROOT / "tests"), "--labels", "a"], "there is no image in"),
        ([str(SAMPLES), "--labels", "a", "--fit", "stretch"], "crop"),
    ],
)
def test_a_command_line_that_cannot_work_is_refused_before_any_call(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_status(classify.main, *arguments, "--endpoint", "http://127.0.0.1:9/") == 2
    assert message in capsys.readouterr().err


def test_a_missing_endpoint_is_explained_without_a_traceback() -> None:
    done = run_python("examples/classify.py", "examples/images", "--labels", "a,b")
    assert (done.returncode, "--endpoint" in done.stderr, "Traceback" in done.stderr) == (
        2,
        True,
        False,
    )


def test_endpoint_and_key_come_from_the_environment_and_a_file_gets_no_progress_bar(
    handler: Handler,
) -> None:
    recorder = RecordingHandler(handler=handler)
    with running(recorder) as url:
        done = run_python(
            "examples/classify.py",
            "examples/images",
            *LABEL_OPTIONS,
            CLIP_ENDPOINT=url,
            CLIP_API_KEY="secret",
        )
    assert (done.returncode, done.stderr) == (0, MODEL_LINE)
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        f"examples/images/{path.name}" for path in sorted(SAMPLES.iterdir())
    ]
    assert recorder.events[0]["headers"]["x-api-key"] == "secret"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_a_terminal_shows_a_progress_bar_that_is_removed_at_the_end(handler: Handler) -> None:
    reading, writing = os.openpty()
    files = [str(path) for path in sorted(SAMPLES.iterdir())[:4]]
    command = [
        sys.executable,
        "examples/classify.py",
        *files,
        *LABEL_OPTIONS,
        "--batch",
        "2",
        "--endpoint",
    ]
    with running(handler) as url:
        done = subprocess.run(
            [*command, url], cwd=ROOT, stderr=writing, stdout=subprocess.DEVNULL, check=False
        )
    os.close(writing)
    seen = os.read(reading, 65536).decode()
    os.close(reading)
    assert done.returncode == 0
    assert f"[{'#' * 15}{' ' * 15}] 2/4" in seen
    assert f"[{'#' * 30}] 4/4" in seen
    assert seen.endswith("\r\x1b[K")


@pytest.fixture
def stuck(handler: Handler) -> Iterator[tuple[str, threading.Event]]:
    """An endpoint that answers the first call but not the second, and an event that is set once the
    second has arrived.
    """
    arrived = threading.Event()
    released = threading.Event()

    def answer(event: dict[str, Any], context: Any) -> dict[str, Any]:
        if arrived.is_set() or json.loads(event["body"])["images"] != [
            base64_of((SAMPLES / "dog.jpg").read_bytes())
        ]:
            arrived.set()
            released.wait(60)
        response: dict[str, Any] = handler(event, context)
        return response

    with running(answer) as url:
        yield url, arrived
        released.set()


@pytest.mark.skipif(
    sys.platform == "win32", reason="a process there is not interrupted by a signal"
)
def test_an_interrupted_run_prints_its_rows_and_its_progress(
    stuck: tuple[str, threading.Event],
) -> None:
    url, arrived = stuck
    command = [
        sys.executable,
        "examples/classify.py",
        "examples/images",
        *LABEL_OPTIONS,
        "--batch",
        "1",
        "--output",
        "json",
        "--endpoint",
        url,
    ]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # What a shell starts in the background ignores the signal, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert arrived.wait(60)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert [row["file"] for row in json.loads(out)] == ["examples/images/dog.jpg"]
    assert err == f"{MODEL_LINE}Interrupted after 1 of {len(list(SAMPLES.iterdir()))} files.\n"


@pytest.mark.parametrize("form", classify.OUTPUTS)
def test_a_closed_pipe_ends_the_run_quietly(handler: Handler, form: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [
        sys.executable,
        "examples/classify.py",
        "examples/images",
        *LABEL_OPTIONS,
        "--output",
        form,
        "--endpoint",
    ]
    with running(handler) as url:
        done = subprocess.run(
            [*command, url],
            cwd=ROOT,
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    os.close(writing)
    assert done.returncode == 1
    assert done.stderr in ("", MODEL_LINE)
