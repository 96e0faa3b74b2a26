from collections.abc import Callable
from pathlib import Path

import pytest

import huggingface
import moderation
from classifier.handler import Handler
from tests.support.programs import RecordingHandler, exit_status, run_python
from tools.local.serve import running


def test_one_call_gives_all_categories_best_first(handler: Handler) -> None:
    recorder = RecordingHandler(handler=handler)
    with running(recorder) as url:
        done = run_python("examples/moderation.py", "--endpoint", url, "--image", "examples/images/pizza.jpg")
    assert done.returncode == 0, done.stderr
    warning, title, *rows = done.stdout.splitlines()
    assert "nothing about photographs" in warning
    assert title == "Category probabilities:"
    shares = [float(row.split()[1].rstrip("%")) for row in rows]
    assert {row.split()[0] for row in rows} == {"neutral", "suggestive", "sport", "explicit", "gaming", "music", "violence"}
    assert shares == sorted(shares, reverse=True)
    assert abs(sum(shares) - 100) < 0.1
    (body,) = recorder.bodies()
    assert (len(body["categories"]), body["combine"]) == (7, "max")


@pytest.mark.parametrize("main", [moderation.main, huggingface.main])
def test_a_missing_file_is_named(main: Callable[..., None], tmp_path: Path) -> None:
    message = exit_status(main, "--endpoint", "http://127.0.0.1:9/", "--image", tmp_path / "none.jpg")
    assert message == f"{tmp_path / 'none.jpg'} can't be read: No such file or directory"
