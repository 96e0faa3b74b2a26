import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import classify
import client
import outputs
from classifier.api.handler import Handler
from tests.support.programs import RecordingHandler, exit_status, run_python
from tests.support.requests import ROOT, base64_of
from tools.local.serve import running

SAMPLES = ROOT / "examples" / "images"


MODEL_LINE = f"Model: demo. {client.DEMO_WARNING}\n"


LABELS = ["a dog", "a pizza", "stars, of any colour"]


LABEL_OPTIONS = ["--labels", "a dog,a pizza", "--label", LABELS[2]]


@pytest.mark.parametrize("form", outputs.OUTPUTS)
def test_a_file_name_that_is_not_utf_8_can_be_printed_and_leads_back_from_json(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(os.fsdecode(b"none\xff.png"))
    row = outputs.Row(classify.read(path).name, {"a dog": 1.0})
    outputs.OUTPUTS[form]([row], [path], ["a dog"])
    printed = capsys.readouterr().out
    assert printed.encode()
    if form == "json":
        assert Path(json.loads(printed)[0]["file"]) == path
    else:
        assert r"none\xff.png" in printed


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


@pytest.mark.parametrize(
    ("options", "noted"), [([], True), (["--multi-label"], False), (["--label", "a cat"], False)]
)
def test_a_single_label_is_noted(
    options: list[str], noted: bool, handler: Handler, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(handler) as url:
        image = str(SAMPLES / "dog.jpg")
        command = [image, "--labels", "a dog", *options, "--endpoint", url]
        assert exit_status(classify.main, *command) == 0
    assert (client.SINGLE_LABEL in capsys.readouterr().err) == noted


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


@pytest.mark.parametrize("form", outputs.OUTPUTS)
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
