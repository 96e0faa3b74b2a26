"""`make evaluate` with two bundles."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from classifier.contract.bundle import read_manifest
from classifier.contract.classifiers.file import parse_classifier
from classifier.contract.classifiers.fit import fitted_on
from tests.support.labelled import LABELS, report_data
from tests.support.local import bundle
from tests.support.programs import exit_status
from tests.support.requests import DEMO
from tools.evaluate.__main__ import main

Evaluate = Callable[..., Any]


@pytest.fixture
def worse(tmp_path: Path) -> Path:
    """The demo model with three fifths of its image encoder's bytes gone."""
    path = bundle(tmp_path / "worse", model="worse")
    weights = np.fromfile(path / "image.weights", np.uint8)
    weights[np.random.default_rng(0).random(len(weights)) < 0.6] = 0
    weights.tofile(path / "image.weights")
    manifest = json.loads((path / "bundle.json").read_bytes())
    digest = hashlib.sha256(weights.tobytes()).hexdigest()
    manifest["files"]["image.weights"]["sha256"] = digest
    (path / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")
    return path


@pytest.fixture
def evaluate_with(cache: Path, tmp_path: Path) -> Evaluate:
    def run(bundles: str, *arguments: object) -> Any:
        options = ["--cache", cache, "--report", tmp_path / "report.html", "--processes", 1]
        return exit_status(main, *arguments, "--bundle", bundles, *options)

    return run


def test_two_bundles_are_judged_on_the_same_images_each_with_thresholds_that_hold(
    folder: Path, worse: Path, evaluate_with: Evaluate, tmp_path: Path, capsys: Any
) -> None:
    wanted = ["--labels", ",".join(LABELS), "--precision", "0.8"]
    alone = []
    for single in (DEMO, worse):
        assert evaluate_with(str(single), folder, *wanted) == 0
        alone.append(report_data(tmp_path))
    capsys.readouterr()
    assert evaluate_with(f"{DEMO} {worse}", folder, *wanted) == 0
    out = capsys.readouterr().out
    both = report_data(tmp_path)
    assert both["sides"] == [str(DEMO), str(worse)]
    for i, single in enumerate(alone):
        assert [entry["values"][i] for entry in both["overall"]] == [
            entry["values"][0] for entry in single["overall"]
        ]
        assert both["tables"][i]["rows"] == single["tables"][0]["rows"]
    good, bad = (entry["overall"][1]["values"][0][0] for entry in alone)
    assert good > bad + 0.1
    gain = {entry["name"]: entry["value"] for entry in both["differences"]}
    value, low, high = gain["accuracy, images that show a label"]
    assert value == pytest.approx(good - bad)
    assert 0 < low < value < high
    for path, name in ((DEMO, "demo"), (worse, "worse")):
        model = f"{path}, on {name} ({read_manifest(path, verify_hashes=False).fingerprint[:12]})"
        assert model in out
        assert f"{path}: an image takes " in out


def test_thresholds_of_one_model_are_left_out_with_the_other(
    folder: Path, worse: Path, classifier: Path, evaluate_with: Evaluate, tmp_path: Path
) -> None:
    question = parse_classifier({"labels": list(LABELS)})
    fit = fitted_on(read_manifest(DEMO, verify_hashes=False), question).model_dump()
    value = {"labels": LABELS, "thresholds": dict.fromkeys(LABELS, 0.4), "fitted_on": fit}
    classifier.write_text(json.dumps(value), encoding="utf-8")
    assert evaluate_with(f"{worse} {DEMO}", folder, "--classifier", classifier) == 0
    shown = report_data(tmp_path)
    kinds = [{row["kind"] for row in side["rows"]} for side in shown["tables"]]
    thresholds = [{row["threshold"] for row in side["rows"]} for side in shown["tables"]]
    assert thresholds[1] == {0.4}
    assert 0.4 not in thresholds[0]
    assert all("estimate" in kind for kind in kinds[0])
    [note] = [note for note in shown["notes"] if "another model" in note]
    assert note.startswith(f"{worse}: Its thresholds are left out")


def test_a_folder_with_a_space_in_its_name_is_one_bundle(
    folder: Path, evaluate_with: Evaluate, tmp_path: Path
) -> None:
    shutil.copytree(DEMO, tmp_path / "my models" / "a demo")
    path = tmp_path / "my models" / "a demo"
    assert evaluate_with(str(path), folder, "--labels", ",".join(LABELS)) == 0
    assert report_data(tmp_path)["sides"] == ["these labels"]


@pytest.mark.parametrize(
    ("bundles", "options", "message"),
    [
        (f"{DEMO} {DEMO} {DEMO}", [], "3 bundles are named; two can be compared."),
        (f"{DEMO} {DEMO}", ["--save", "x"], "--save goes with one bundle"),
        (f"{DEMO} {DEMO}", ["--endpoint", "http://x"], "--endpoint goes with one bundle"),
        (f"{DEMO} models/no-such", [], "models/no-such holds no bundle. Make it: make model"),
    ],
)
def test_what_two_bundles_cannot_do_is_refused(
    folder: Path, evaluate_with: Evaluate, bundles: str, options: list[str], message: str
) -> None:
    assert message in evaluate_with(bundles, folder, "--labels", ",".join(LABELS), *options)
