from collections.abc import Callable
from pathlib import Path

import pytest

import huggingface
import moderation
from classifier.api.handler import Handler
from classifier.contract.classifiers.folder import read_classifier
from classifier.model.encoders import Encoders
from tests.support.programs import RecordingHandler, exit_status, run_python
from tests.support.requests import ROOT
from tools.local.serve import running


def test_one_call_gives_all_categories_best_first(deployed: Handler) -> None:
    recorder = RecordingHandler(handler=deployed)
    with running(recorder) as url:
        done = run_python(
            "examples/moderation.py", "--endpoint", url, "--image", "examples/images/pizza.jpg"
        )
    assert done.returncode == 0, done.stderr
    model, title, *rows, decision = done.stdout.splitlines()
    assert model.startswith("Model: demo. ") and "nothing about photographs" in model
    assert decision.startswith("No decision: the classifier moderation has no thresholds.")
    assert title == "Category probabilities:"
    shares = [float(row.split()[1].rstrip("%")) for row in rows]
    assert {row.split()[0] for row in rows} == {
        "neutral",
        "suggestive",
        "sport",
        "explicit",
        "gaming",
        "music",
        "violence",
    }
    assert shares == sorted(shares, reverse=True)
    assert abs(sum(shares) - 100) < 0.1
    (body,) = recorder.bodies()
    assert body.keys() == {"image_data", "classifier"}


def test_a_classifier_with_thresholds_decides(deployed: Handler) -> None:
    with running(deployed) as url:
        done = run_python(
            "examples/moderation.py",
            "--endpoint",
            url,
            "--image",
            "examples/images/pizza.jpg",
            "--classifier",
            "drawings",
        )
    assert done.stdout.splitlines()[-1] == "Decision: no action (a pizza reached a threshold)"


def test_the_taxonomy_to_start_from_answers_and_is_not_deployed_untold(encoders: Encoders) -> None:
    taxonomy = read_classifier(ROOT / "examples" / "moderation_taxonomy.json")
    assert taxonomy.thresholds is None
    assert not (ROOT / "classifiers" / "moderation_taxonomy.json").exists()
    with running(Handler(encoders, classifiers={"taxonomy": taxonomy})) as url:
        done = run_python("examples/moderation.py", "--endpoint", url, "--classifier", "taxonomy")
    _, _, *rows, decision = done.stdout.splitlines()
    assert {row[2:].rsplit(maxsplit=1)[0] for row in rows} == set(taxonomy.categories or ())
    assert decision.startswith("No decision: the classifier taxonomy has no thresholds.")


def test_a_classifier_that_is_not_deployed_is_named(handler: Handler) -> None:
    with running(handler) as url:
        message = exit_status(moderation.main, "--endpoint", url)
    assert '"moderation", and there is no classifier here' in str(message)


@pytest.mark.parametrize("main", [moderation.main, huggingface.main])
def test_a_missing_file_is_named(main: Callable[..., None], tmp_path: Path) -> None:
    message = exit_status(
        main, "--endpoint", "http://127.0.0.1:9/", "--image", tmp_path / "none.jpg"
    )
    assert message == f"{tmp_path / 'none.jpg'} can't be read: No such file or directory"
