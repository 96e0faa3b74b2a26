"""Thresholds that `make evaluate` makes and saves, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from classifier.contract.bundle import read_manifest
from classifier.contract.classifiers.fit import question_sha256
from classifier.contract.classifiers.folder import read_classifiers
from tests.support.labelled import LABELS
from tests.support.requests import DEMO

Evaluate = Callable[..., Any]


def test_a_guarantee_that_holds_is_saved_with_what_it_was_fitted_on(
    folder: Path, classifier: Path, evaluate: Evaluate, capsys: Any
) -> None:
    assert evaluate(folder, "--classifier", classifier, "--false-alarms", 0.1, "--save") == 0
    assert "false alarms ≤ 10 %" in capsys.readouterr().out
    manifest = read_manifest(DEMO, verify_hashes=False)
    file = read_classifiers(classifier.parent, manifest)["mine"]
    assert file.thresholds and set(file.thresholds) <= set(LABELS)
    assert file.fitted_on is not None and file.fitted_on.question == question_sha256(file)
    assert (file.description, file.actions) == ("Shapes.", None)


def test_if_no_guarantee_holds_nothing_is_saved_and_it_says_what_is_missing(
    folder: Path, classifier: Path, evaluate: Evaluate, capsys: Any
) -> None:
    before = classifier.read_bytes()
    message = evaluate(folder, "--classifier", classifier, "--precision", 0.999, "--save")
    assert "Nothing is saved" in message
    assert "show it" in capsys.readouterr().out
    assert classifier.read_bytes() == before


def test_two_guarantees_make_a_review_band(
    folder: Path, classifier: Path, evaluate: Evaluate
) -> None:
    guarantees = ["--recall", 0.5, "--false-alarms", 0.1]
    assert "needs two actions" in evaluate(folder, "--classifier", classifier, *guarantees)
    assert (
        evaluate(
            folder, "--classifier", classifier, *guarantees, "--actions", "review,block", "--save"
        )
        == 0
    )
    value = json.loads(classifier.read_bytes())
    assert value["actions"] == ["review", "block"]
    assert any(set(limits) == {"review", "block"} for limits in value["thresholds"].values())
    assert all(
        limits.get("review", 0) <= limits.get("block", 1) for limits in value["thresholds"].values()
    )


def test_a_guarantee_is_for_the_action_that_it_suits_and_old_thresholds_go(
    folder: Path, evaluate: Evaluate, tmp_path: Path, capsys: Any
) -> None:
    path = tmp_path / "mine.json"
    categories = {"warm": [LABELS[0]], "cool": list(LABELS[1:])}
    images = tmp_path / "labels.csv"
    rows = [
        (path, path.parent.name)
        for path in sorted(folder.rglob("*.png"))
        if path.parent.name != "_other"
    ]
    lines = [f"{path},{'warm' if label == LABELS[0] else 'cool'}\n" for path, label in rows]
    images.write_text("".join(lines), encoding="utf-8")
    old = {"warm": {"review": 0.1}, "cool": {"review": 0.1}}
    for kind, action in (("--precision", "block"), ("--recall", "review")):
        question = {"categories": categories, "actions": ["review", "block"], "thresholds": old}
        path.write_text(json.dumps(question), encoding="utf-8")
        assert evaluate(images, "--classifier", path, kind, 0.8, "--for", "warm", "--save") == 0
        assert "Removed from" in (out := capsys.readouterr().out) and "thresholds of cool" in out
        thresholds = json.loads(path.read_bytes())["thresholds"]
        assert {name: list(limits) for name, limits in thresholds.items()} == {"warm": [action]}


def test_a_saved_classifier_that_can_never_name_a_label_says_so(
    folder: Path, classifier: Path, evaluate: Evaluate, capsys: Any
) -> None:
    goals = ["--false-alarms", 0.1, "--for", LABELS[0], "--save"]
    assert evaluate(folder, "--classifier", classifier, *goals) == 0
    others = ", ".join(f'"{label}"' for label in LABELS[1:])
    assert f"Its decision never names {others}: without a threshold" in capsys.readouterr().out
    assert evaluate(folder, "--classifier", classifier, "--save") == 0
    assert "never names" not in capsys.readouterr().out


def test_costs_are_estimates(
    folder: Path, classifier: Path, evaluate: Evaluate, capsys: Any
) -> None:
    thresholds = []
    for cost in ("miss=1,alarm=50", "miss=50,alarm=1"):
        assert evaluate(folder, "--classifier", classifier, "--cost", cost, "--save") == 0
        assert "an estimate" in capsys.readouterr().out
        thresholds.append(json.loads(classifier.read_bytes())["thresholds"])
    assert all(thresholds[0][name] >= thresholds[1][name] for name in LABELS)
    assert thresholds[0] != thresholds[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Say what to judge"),
        (["--labels", "a,b", "--classifier", "drawings"], "Give only one: "),
        (["--classifier", "drawing"], "drawing.json is missing. In this folder: drawings"),
        (["--classifier", "drawings", "--multi-label"], "--multi-label goes with labels"),
        (
            ["--classifier", "drawings", "--precision", "95"],
            "must be more than 0 and less than 1, such as 0.95",
        ),
        (
            ["--classifier", "drawings", "--precision", "0.9", "--cost", "miss=1,alarm=1"],
            "exclude each other",
        ),
        (["--classifier", "drawings", "--cost", "miss=1"], "must be two numbers above 0"),
        (["--classifier", "drawings", "--prevalence", "a dgo=0.1"], 'Did you mean "a dog"?'),
        (["--classifier", "drawings", "--prevalence", "a dog=1"], "a share between 0 and 1"),
        (["--classifier", "drawings", "--for", "a dgo"], 'Did you mean "a dog"?'),
        (["--labels", "a,b", "--save"], "--save needs a name"),
        (
            ["--labels", "a,b", "--save", "drawings"],
            "exists. To write into it, name it instead of the labels and save without a",
        ),
        (["--labels", "a dog,A dog"], "are the same to the model"),
        (["--classifier", "drawings"], 'has the name "a blue circle", which is no label here'),
    ],
)
def test_what_cannot_work_is_refused(
    folder: Path, evaluate: Evaluate, arguments: list[str], message: str
) -> None:
    found = evaluate(folder, *arguments)
    assert message in found
    assert "these labels.json" not in found


def test_a_name_that_no_request_can_send_is_refused_before_any_work(
    tmp_path: Path, evaluate: Evaluate
) -> None:
    found = evaluate(tmp_path / "none", "--labels", "a,b", "--save", "Meine Hunde")
    assert "classifiers/Meine Hunde.json has no name that a request can send" in found
