"""`make evaluate`, through its command line."""

import base64
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from classifier.contract.bundle import read_manifest
from classifier.contract.classifier_file import parse_classifier
from classifier.contract.classifier_fit import fitted_on, question_sha256
from classifier.contract.classifier_folder import read_classifiers
from tests.support.labelled import LABELS, draw, report_data
from tests.support.programs import exit_status
from tests.support.requests import DEMO, ROOT
from tools.evaluate.__main__ import main

Evaluate = Callable[..., Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("drawings")
    draw(found, each=80, others=80)
    return found


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache") / "embeddings.sqlite3"


@pytest.fixture
def evaluate(cache: Path, tmp_path: Path) -> Evaluate:
    def run(*arguments: object) -> Any:
        beside = ["--cache", cache, "--report", tmp_path / "report.html", "--bundle", DEMO, "--processes", 2]
        return exit_status(main, *arguments, *beside)

    return run


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"labels": LABELS, "description": "Shapes."}), encoding="utf-8")
    return path


def test_labels_of_the_command_line_are_judged(folder: Path, evaluate: Evaluate, tmp_path: Path, capsys: Any) -> None:
    assert evaluate(folder, "--labels", ",".join(LABELS)) == 0
    out = capsys.readouterr().out
    assert "In a mix like this folder's" in out
    assert "an estimate" in out
    rows = {row["name"]: row for row in report_data(tmp_path)["tables"][0]["rows"]}
    assert rows.keys() == set(LABELS)
    for row in rows.values():
        assert row["pictures"] == 80
        value, low, high = row["recall"]
        assert 0.5 < low < value <= high <= 1


def test_a_promise_that_holds_is_saved_with_what_it_was_fitted_on(
    folder: Path, classifier: Path, evaluate: Evaluate, capsys: Any
) -> None:
    assert evaluate(folder, "--classifier", classifier, "--false-alarms", 0.1, "--save") == 0
    assert "false alarms ≤ 10 %" in capsys.readouterr().out
    manifest = read_manifest(DEMO, verify_hashes=False)
    file = read_classifiers(classifier.parent, manifest)["mine"]
    assert file.thresholds and set(file.thresholds) <= set(LABELS)
    assert file.fitted_on is not None and file.fitted_on.question == question_sha256(file)
    assert (file.description, file.actions) == ("Shapes.", None)


def test_where_no_promise_holds_nothing_is_saved_and_it_says_how_many_pictures_would_do(
    folder: Path, classifier: Path, evaluate: Evaluate, capsys: Any
) -> None:
    before = classifier.read_bytes()
    message = evaluate(folder, "--classifier", classifier, "--precision", 0.999, "--save")
    assert "Nothing is saved" in message
    assert "would do" in capsys.readouterr().out
    assert classifier.read_bytes() == before


def test_two_promises_make_a_review_band(folder: Path, classifier: Path, evaluate: Evaluate) -> None:
    promises = ["--recall", 0.5, "--false-alarms", 0.1]
    assert "needs two actions" in evaluate(folder, "--classifier", classifier, *promises)
    assert evaluate(folder, "--classifier", classifier, *promises, "--actions", "review,block", "--save") == 0
    value = json.loads(classifier.read_bytes())
    assert value["actions"] == ["review", "block"]
    assert any(set(limits) == {"review", "block"} for limits in value["thresholds"].values())
    assert all(limits.get("review", 0) <= limits.get("block", 1) for limits in value["thresholds"].values())


def test_a_promise_is_for_the_action_that_it_suits_and_old_thresholds_go(
    folder: Path, evaluate: Evaluate, tmp_path: Path, capsys: Any
) -> None:
    path = tmp_path / "mine.json"
    categories = {"warm": [LABELS[0]], "cool": list(LABELS[1:])}
    pictures = tmp_path / "labels.csv"
    rows = [(path, path.parent.name) for path in sorted(folder.rglob("*.png")) if path.parent.name != "_other"]
    lines = [f"{path},{'warm' if label == LABELS[0] else 'cool'}\n" for path, label in rows]
    pictures.write_text("".join(lines), encoding="utf-8")
    old = {"warm": {"review": 0.1}, "cool": {"review": 0.1}}
    for promise, action in (("--precision", "block"), ("--recall", "review")):
        question = {"categories": categories, "actions": ["review", "block"], "thresholds": old}
        path.write_text(json.dumps(question), encoding="utf-8")
        assert evaluate(pictures, "--classifier", path, promise, 0.8, "--for", "warm", "--save") == 0
        assert "Gone from" in (out := capsys.readouterr().out) and "the thresholds of cool" in out
        thresholds = json.loads(path.read_bytes())["thresholds"]
        assert {name: list(limits) for name, limits in thresholds.items()} == {"warm": [action]}


def test_the_same_picture_under_two_labels_is_refused_before_any_is_encoded(
    evaluate: Evaluate, tmp_path: Path, capsys: Any
) -> None:
    pictures = tmp_path / "pictures"
    draw(pictures, each=2)
    first = sorted((pictures / LABELS[0]).iterdir())[0]
    (pictures / LABELS[1] / "copy.png").write_bytes(first.read_bytes())
    message = evaluate(pictures, "--labels", ",".join(LABELS))
    assert "are the same picture, under" in message
    assert "picture/s" not in capsys.readouterr().err


def test_costs_are_estimates(folder: Path, classifier: Path, evaluate: Evaluate, capsys: Any) -> None:
    thresholds = []
    for cost in ("miss=1,alarm=50", "miss=50,alarm=1"):
        assert evaluate(folder, "--classifier", classifier, "--cost", cost, "--save") == 0
        assert "an estimate" in capsys.readouterr().out
        thresholds.append(json.loads(classifier.read_bytes())["thresholds"])
    assert all(thresholds[0][name] >= thresholds[1][name] for name in LABELS)
    assert thresholds[0] != thresholds[1]


def test_the_thresholds_of_the_file_are_judged_where_no_others_are_asked_for(
    folder: Path, classifier: Path, evaluate: Evaluate, tmp_path: Path
) -> None:
    classifier.write_text(json.dumps({"labels": LABELS, "thresholds": {LABELS[0]: 0.77}}), encoding="utf-8")
    assert evaluate(folder, "--classifier", classifier) == 0
    rows = {row["name"]: row for row in report_data(tmp_path)["tables"][0]["rows"]}
    assert (rows[LABELS[0]]["threshold"], rows[LABELS[0]]["kind"]) == (0.77, "set by hand")
    assert rows[LABELS[1]]["threshold"] is None


def test_a_prevalence_reweights_the_precision_alone(folder: Path, evaluate: Evaluate, tmp_path: Path, capsys: Any) -> None:
    classifier = tmp_path / "lax.json"
    classifier.write_text(json.dumps({"labels": LABELS, "thresholds": dict.fromkeys(LABELS, 0.2)}), encoding="utf-8")
    found = []
    for more in ([], ["--prevalence", f"{LABELS[0]}=0.01"]):
        assert evaluate(folder, "--classifier", classifier, *more) == 0
        found.append({row["name"]: row for row in report_data(tmp_path)["tables"][0]["rows"]})
    assert "1 %" in capsys.readouterr().out
    first, rare = (rows[LABELS[0]] for rows in found)
    assert (first["recall"], first["false_alarms"]) == (rare["recall"], rare["false_alarms"])
    recall, alarms = first["recall"][0], first["false_alarms"][0]
    assert alarms > 0
    assert rare["precision"][0] == pytest.approx(0.01 * recall / (0.01 * recall + 0.99 * alarms))
    assert found[0][LABELS[1]] == found[1][LABELS[1]]


def test_two_classifiers_are_compared_on_the_same_pictures(
    folder: Path, classifier: Path, evaluate: Evaluate, tmp_path: Path, capsys: Any
) -> None:
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"labels": LABELS[::-1], "templates": ["no {}"]}), encoding="utf-8")
    assert evaluate(folder, "--classifier", classifier, "--against", other) == 0
    out = capsys.readouterr().out
    assert "mine less other" in out
    shown = report_data(tmp_path)
    assert shown["sides"] == ["mine", "other"]
    assert any(gallery["title"] == "Right with mine alone" for gallery in shown["galleries"])
    other.write_text(json.dumps({"labels": [*LABELS, "a dog"]}), encoding="utf-8")
    assert "only one of them knows a dog" in evaluate(folder, "--classifier", classifier, "--against", other)


def test_what_a_head_learned_from_does_not_judge_it(folder: Path, evaluate: Evaluate, tmp_path: Path, capsys: Any) -> None:
    manifest = read_manifest(DEMO, verify_hashes=False)
    learned = sorted(folder.rglob("*.png"))[:7]
    head = {
        "vectors": base64.b64encode(np.ones((3, manifest.dimension), "<f4").tobytes()).decode(),
        "scale": 1.0,
        "learned_from": [hashlib.sha256(path.read_bytes()).hexdigest() for path in learned],
    }
    question = {"labels": list(LABELS)}
    fitted = fitted_on(manifest, parse_classifier(question)).model_dump()
    path = tmp_path / "learned.json"
    path.write_text(json.dumps(question | {"head": head, "fitted_on": fitted}), encoding="utf-8")
    assert evaluate(folder, "--classifier", path) == 0
    assert "7 pictures are left out, since the classifier learned from them" in capsys.readouterr().out


def test_broken_files_and_copies_are_counted_and_listed(evaluate: Evaluate, tmp_path: Path, capsys: Any) -> None:
    pictures = tmp_path / "pictures"
    draw(pictures, each=4)
    first = sorted((pictures / LABELS[0]).iterdir())[0]
    (pictures / LABELS[0] / "copy.png").write_bytes(first.read_bytes())
    (pictures / LABELS[1] / "broken.jpg").write_bytes(b"no picture")
    (pictures / LABELS[1] / "notes.txt").write_bytes(b"text")
    assert evaluate(pictures, "--labels", ",".join(LABELS)) == 0
    out = capsys.readouterr().out
    assert "1 broken file is left out" in out and "broken.jpg: The image is none of JPEG" in out
    assert "1 copy of another picture is left out" in out
    assert "Passed over 1 file: 1 suffix .txt." in out


def test_several_labels_a_picture_from_a_csv_file(folder: Path, evaluate: Evaluate, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    lines = [
        f"{path},{'' if path.parent.name == '_other' else path.parent.name},film {i // 4}"
        for i, path in enumerate(sorted(folder.rglob("*.png")))
    ]
    file.write_text("path,label,group\n" + "\n".join(lines), encoding="utf-8")
    assert evaluate(file, "--labels", ",".join(LABELS), "--multi-label") == 0
    assert report_data(tmp_path)["confusion"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Say what to judge"),
        (["--labels", "a,b", "--classifier", "drawings"], "Say what to judge"),
        (["--classifier", "drawing"], "drawing.json is missing. In this folder: drawings"),
        (["--classifier", "drawings", "--multi-label"], "--multi-label goes with labels"),
        (["--classifier", "drawings", "--precision", "95"], "must be more than 0 and less than 1, such as 0.95"),
        (["--classifier", "drawings", "--precision", "0.9", "--cost", "miss=1,alarm=1"], "exclude each other"),
        (["--classifier", "drawings", "--cost", "miss=1"], "must be two numbers above 0"),
        (["--classifier", "drawings", "--prevalence", "a dgo=0.1"], 'Did you mean "a dog"?'),
        (["--classifier", "drawings", "--prevalence", "a dog=1"], "a share between 0 and 1"),
        (["--classifier", "drawings", "--for", "a dgo"], 'Did you mean "a dog"?'),
        (["--labels", "a,b", "--save"], "--save needs a name"),
        (["--labels", "a,b", "--save", "drawings"], "exists; judge it with CLASSIFIER=drawings"),
        (["--labels", "a dog,A dog"], "are the same to the model"),
        (["--classifier", "drawings"], 'has the name "a blue circle", which is no label here'),
    ],
)
def test_what_cannot_work_is_refused(folder: Path, evaluate: Evaluate, arguments: list[str], message: str) -> None:
    found = evaluate(folder, *arguments)
    assert message in found
    assert "these labels.json" not in found


def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path) -> None:
    pictures, cache = tmp_path / "pictures", tmp_path / "cache.sqlite3"
    draw(pictures, each=300)
    command = [sys.executable, "-m", "tools.evaluate", str(pictures), "--labels", ",".join(LABELS), "--cache", str(cache),
               "--report", str(tmp_path / "report.html"), "--bundle", str(DEMO), "--processes", "1"]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert process.stderr
    while "%|" not in (seen := process.stderr.read(200)) or re.search(r"\b0/900", seen):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.endswith("Interrupted. The same command goes on where it was.\n")
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    first = re.search(r"(\d+)/900", again.stderr)
    assert first and 0 < int(first[1]) < 900
