"""`make learn`, through its command line, and its answers through the API."""

import base64
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from classifier.api.handler import Handler
from classifier.contract.bundle import read_manifest
from classifier.contract.classifiers.folder import read_classifiers
from classifier.model.encoders import Encoders
from tests.support.labelled import LABELS, draw, report_data
from tests.support.programs import exit_status
from tests.support.requests import DEMO, ask, base64_of, event
from tools.evaluate.__main__ import main as evaluate
from tools.evaluate.classifier_file import from_options
from tools.evaluate.dataset import gather
from tools.evaluate.embeddings import Cache
from tools.evaluate.learn.__main__ import main
from tools.evaluate.learn.learner import EXAMPLES, Learner, held_back
from tools.evaluate.scores import Bundle

Learn = Callable[..., Any]
# Names under which the demo model finds little, so that there is something to learn.
VAGUE = {"a red star": "a thing", "a blue circle": "an object", "a green square": "an item"}


@pytest.fixture(scope="module")
def folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 of each label and 40 of none."""
    found = tmp_path_factory.mktemp("vague")
    for drawn in folder.iterdir():
        vague = found / VAGUE.get(drawn.name, drawn.name)
        vague.mkdir()
        for path in sorted(drawn.iterdir())[: 60 if drawn.name in VAGUE else 40]:
            shutil.copy(path, vague)
    return found


@pytest.fixture
def common_options(cache: Path, tmp_path: Path) -> list[object]:
    return [
        "--cache",
        cache,
        "--report",
        tmp_path / "report.html",
        "--bundle",
        DEMO,
        "--processes",
        1,
    ]


@pytest.fixture
def teach(common_options: list[object]) -> Learn:
    return lambda *arguments: exit_status(main, *arguments, *common_options)


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    path = tmp_path / "mine.json"
    path.write_text(
        json.dumps({"labels": [*VAGUE.values()], "description": "Shapes."}), encoding="utf-8"
    )
    return path


def contents(folder: Path, other: bool = False) -> set[str]:
    paths = [path for path in folder.rglob("*.png") if other or path.parent.name != "_other"]
    return {hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_a_learned_head_is_saved_and_deployed(
    folder: Path, classifier: Path, teach: Learn, tmp_path: Path, capsys: Any
) -> None:
    assert teach(folder, "--classifier", classifier, "--save") == 0
    out = capsys.readouterr().out
    assert "an estimate" in out
    assert all(f"  {each:2}: " in out for each in EXAMPLES)
    file = read_classifiers(classifier.parent, read_manifest(DEMO, verify_hashes=False))["mine"]
    assert file.head and file.thresholds and file.description == "Shapes."
    assert set(file.head.learned_from) == contents(folder)
    first, words = report_data(tmp_path)["overall"][0]["values"]
    assert first[0] > words[0] + 0.1


def test_the_api_answers_with_a_learned_head_as_numpy_does(
    folder: Path, classifier: Path, teach: Learn
) -> None:
    assert teach(folder, "--classifier", classifier, "--save") == 0
    encoders = Encoders.load(DEMO, threads=2, verify_hashes=False)
    head = json.loads(classifier.read_bytes())["head"]
    rows = np.frombuffer(base64.b64decode(head["vectors"]), "<f4").reshape(3, -1).astype(np.float64)
    handler = Handler(encoders, classifiers=read_classifiers(classifier.parent, encoders.manifest))
    for path in sorted(folder.rglob("*.png"))[::20]:
        asked = {
            "image_data": base64_of(path.read_bytes()),
            "classifier": "mine",
            "embedding": True,
        }
        status, body, _ = ask(handler, event(asked))
        assert status == 200
        weights = np.exp(head["scale"] * (rows @ np.array(body["embedding"])))
        assert (
            np.abs(
                np.array([body["result"][name] for name in VAGUE.values()])
                - weights / weights.sum()
            ).max()
            < 1e-6
        )
        assert all(
            body["result"][entry["name"]] >= entry["threshold"]
            for entry in body["decision"]["labels"]
        )


def test_with_a_guarantee_the_images_that_give_the_thresholds_do_not_teach(
    folder: Path, classifier: Path, teach: Learn, common_options: list[object], capsys: Any
) -> None:
    assert teach(folder, "--classifier", classifier, "--false-alarms", 0.15, "--save") == 0
    assert "held back" in capsys.readouterr().out
    file = read_classifiers(classifier.parent, read_manifest(DEMO, verify_hashes=False))["mine"]
    assert file.head and file.thresholds
    assert 0.3 * 180 < len(file.head.learned_from) < 0.7 * 180
    assert set(file.head.learned_from) < contents(folder)
    assert exit_status(evaluate, folder, "--classifier", classifier, *common_options) == 0
    assert (
        f"{len(file.head.learned_from)} images are left out, since the classifier learned "
        "from them" in capsys.readouterr().out
    )


def test_what_is_no_better_than_words_is_saved_only_if_told_to(
    tmp_path: Path, teach: Learn, capsys: Any
) -> None:
    draw(tmp_path / "few", each=4)
    path = tmp_path / "plain.json"
    path.write_text(json.dumps({"labels": LABELS}), encoding="utf-8")
    before = path.read_bytes()
    message = teach(tmp_path / "few", "--classifier", path, "--save")
    assert "isn't shown to be better" in message and "--anyway" in message
    assert path.read_bytes() == before
    assert "fewer than 5 images of different groups" in capsys.readouterr().out
    assert teach(tmp_path / "few", "--classifier", path, "--save", "--anyway") == 0
    assert "head" in json.loads(path.read_bytes())


def test_if_no_guarantee_holds_nothing_is_saved(
    folder: Path, classifier: Path, teach: Learn, capsys: Any
) -> None:
    before = classifier.read_bytes()
    assert "no threshold keeps its guarantee" in teach(
        folder, "--classifier", classifier, "--precision", 0.999, "--save"
    )
    assert classifier.read_bytes() == before
    assert "Learning from 16 examples a label: 100%" in capsys.readouterr().err


def test_a_head_that_keeps_no_guarantee_is_not_told_to_learn(
    tmp_path: Path, teach: Learn, capsys: Any
) -> None:
    # Of two labels at random nothing can be learned.
    draw(tmp_path / "drawn", each=60)
    drawn = sorted((tmp_path / "drawn").rglob("*.png"))
    lines = [f"{path},{'a thing' if i % 2 else 'an item'}\n" for i, path in enumerate(drawn)]
    images = tmp_path / "labels.csv"
    images.write_text("".join(lines), encoding="utf-8")
    assert teach(images, "--labels", "a thing,an item", "--precision", 0.8) == 0
    out = capsys.readouterr().out
    assert "teach it by more or clearer examples" in out
    assert "make learn" not in out


def test_one_label_alone_or_one_image_a_label_is_refused(
    tmp_path: Path, classifier: Path, teach: Learn
) -> None:
    draw(tmp_path / "few", each=1)
    assert "two images or more" in teach(tmp_path / "few", "--labels", ",".join(LABELS))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--against", "drawings"], "make evaluate"),
        (["--hold-back", "1.5"], "--hold-back 1.5"),
        (["--precision", "2"], "--precision"),
    ],
)
def test_options_are_checked_before_any_work(
    folder: Path, classifier: Path, teach: Learn, arguments: list[str], message: str
) -> None:
    assert message in teach(folder, "--classifier", classifier, *arguments)


def test_a_label_that_the_classifier_does_not_know_is_refused(
    tmp_path: Path, classifier: Path, teach: Learn
) -> None:
    draw(tmp_path / "unknown", each=2)
    assert "has the name" in teach(tmp_path / "unknown", "--classifier", classifier)


@pytest.mark.parametrize(
    "options", [{}, {"multi_label": True}, {"multi_label": True, "negative_template": "nothing"}]
)
def test_a_head_without_examples_answers_as_the_words_do(
    folder: Path, cache: Path, options: dict[str, Any]
) -> None:
    bundle, candidate = Bundle(DEMO, 2), from_options({"labels": [*VAGUE.values()], **options})
    with Cache(cache) as kept:
        dataset = gather(bundle, folder, [candidate], kept)
    learner = Learner.of(bundle, candidate)
    head = learner.head(dataset, np.zeros(len(dataset.truth), np.bool_))
    answers = learner.answer(head, dataset.names, dataset.answers[0].embeddings)
    assert np.array_equal(answers.probabilities, dataset.answers[0].probabilities)
    learned = learner.answer(
        learner.head(dataset, np.ones(len(dataset.truth), np.bool_)),
        dataset.names,
        answers.embeddings,
    )
    assert np.abs(learned.probabilities - answers.probabilities).max() > 0.1


def test_groups_are_held_back_whole() -> None:
    groups = np.arange(300) // 3
    kept = held_back(groups, 0.5, np.random.default_rng(0))
    assert kept.sum() == 150
    assert len(np.unique(groups[kept])) == 50
