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
from classifier.contract.classifiers.file import parse_classifier
from classifier.contract.classifiers.fit import fitted_on
from tests.support.labelled import LABELS, draw, report_data
from tests.support.requests import DEMO, ROOT

Evaluate = Callable[..., Any]


def test_labels_of_the_command_line_are_judged(
    folder: Path, evaluate: Evaluate, tmp_path: Path, capsys: Any
) -> None:
    assert evaluate(folder, "--labels", ",".join(LABELS)) == 0
    out = capsys.readouterr().out
    assert "In a mix like this folder's" in out
    assert "an estimate" in out
    rows = {row["name"]: row for row in report_data(tmp_path)["tables"][0]["rows"]}
    assert rows.keys() == set(LABELS)
    for row in rows.values():
        assert row["images"] == 80
        value, low, high = row["recall"]
        assert 0.5 < low < value <= high <= 1


def test_the_same_image_under_two_labels_is_refused_before_any_is_encoded(
    evaluate: Evaluate, tmp_path: Path, capsys: Any
) -> None:
    images = tmp_path / "pictures"
    draw(images, each=2)
    first = sorted((images / LABELS[0]).iterdir())[0]
    (images / LABELS[1] / "copy.png").write_bytes(first.read_bytes())
    message = evaluate(images, "--labels", ",".join(LABELS))
    assert "are the same image, under" in message
    assert "image/s" not in capsys.readouterr().err


def test_the_thresholds_of_the_file_are_judged_if_no_others_are_asked_for(
    folder: Path, classifier: Path, evaluate: Evaluate, tmp_path: Path
) -> None:
    classifier.write_text(
        json.dumps({"labels": LABELS, "thresholds": {LABELS[0]: 0.77}}), encoding="utf-8"
    )
    assert evaluate(folder, "--classifier", classifier) == 0
    rows = {row["name"]: row for row in report_data(tmp_path)["tables"][0]["rows"]}
    assert (rows[LABELS[0]]["threshold"], rows[LABELS[0]]["kind"]) == (0.77, "set by hand")
    assert rows[LABELS[1]]["threshold"] is None


def test_a_prevalence_reweights_the_precision_alone(
    folder: Path, evaluate: Evaluate, tmp_path: Path, capsys: Any
) -> None:
    classifier = tmp_path / "lax.json"
    classifier.write_text(
        json.dumps({"labels": LABELS, "thresholds": dict.fromkeys(LABELS, 0.2)}), encoding="utf-8"
    )
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


def test_accuracy_counts_all_images_and_those_of_none_are_right_without_an_answer(
    folder: Path, classifier: Path, evaluate: Evaluate, tmp_path: Path, capsys: Any
) -> None:
    def accuracies(**more: Any) -> list[float]:
        classifier.write_text(json.dumps({"labels": LABELS, **more}), encoding="utf-8")
        assert evaluate(folder, "--classifier", classifier) == 0
        return [entry["values"][0][0] for entry in report_data(tmp_path)["overall"]]

    lax = accuracies(thresholds=dict.fromkeys(LABELS, 0.0001))
    strict = accuracies(thresholds=dict.fromkeys(LABELS, 1.0))
    # 80 of 320 images are of none of the labels, and no threshold changes which is most likely.
    assert lax[0] == pytest.approx(0.75 * lax[1])
    assert strict[0] == pytest.approx(0.25)
    assert strict[1:] == lax[1:]
    nothing = accuracies(min_similarity=0.999, thresholds=dict.fromkeys(LABELS, 0.5))
    assert nothing[:2] == [0.25, 0.0]
    assert "accuracy, all images" in capsys.readouterr().out


def test_two_classifiers_are_compared_on_the_same_images(
    folder: Path, classifier: Path, evaluate: Evaluate, tmp_path: Path, capsys: Any
) -> None:
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"labels": LABELS[::-1], "templates": ["no {}"]}), encoding="utf-8")
    assert evaluate(folder, "--classifier", classifier, "--against", other) == 0
    out = capsys.readouterr().out
    assert "mine minus other" in out
    shown = report_data(tmp_path)
    assert shown["sides"] == ["mine", "other"]
    assert any(gallery["title"] == "Right with mine alone" for gallery in shown["galleries"])
    other.write_text(json.dumps({"labels": [*LABELS, "a dog"]}), encoding="utf-8")
    assert "only one of them knows a dog" in evaluate(
        folder, "--classifier", classifier, "--against", other
    )


def with_head(learned: list[Path]) -> dict[str, Any]:
    manifest = read_manifest(DEMO, verify_hashes=False)
    question = {"labels": list(LABELS)}
    head = {
        "vectors": base64.b64encode(np.ones((3, manifest.dimension), "<f4").tobytes()).decode(),
        "scale": 1.0,
        "learned_from": [hashlib.sha256(path.read_bytes()).hexdigest() for path in learned],
    }
    fitted = fitted_on(manifest, parse_classifier(question)).model_dump()
    return {**question, "head": head, "fitted_on": fitted}


def test_what_a_head_learned_from_does_not_judge_it(
    folder: Path, evaluate: Evaluate, tmp_path: Path, capsys: Any
) -> None:
    path = tmp_path / "learned.json"
    path.write_text(json.dumps(with_head(sorted(folder.rglob("*.png"))[:7])), encoding="utf-8")
    assert evaluate(folder, "--classifier", path) == 0
    assert (
        "7 images are left out, since the classifier learned from them" in capsys.readouterr().out
    )


def test_a_head_that_learned_from_all_images_of_its_labels_is_not_judged_by_the_others(
    folder: Path, evaluate: Evaluate, tmp_path: Path
) -> None:
    learned = [path for label in LABELS for path in (folder / label).iterdir()]
    path = tmp_path / "learned.json"
    path.write_text(json.dumps(with_head(learned)), encoding="utf-8")
    assert "No image of a label is left. Judge it on other images" in evaluate(
        folder, "--classifier", path
    )


def test_broken_files_and_copies_are_counted_and_listed(
    evaluate: Evaluate, tmp_path: Path, capsys: Any
) -> None:
    images = tmp_path / "pictures"
    draw(images, each=4)
    first = sorted((images / LABELS[0]).iterdir())[0]
    (images / LABELS[0] / "copy.png").write_bytes(first.read_bytes())
    (images / LABELS[1] / "broken.jpg").write_bytes(b"no image")
    (images / LABELS[1] / "notes.txt").write_bytes(b"text")
    assert evaluate(images, "--labels", ",".join(LABELS)) == 0
    out = capsys.readouterr().out
    assert "1 broken file is left out" in out and "broken.jpg: The image is none of JPEG" in out
    assert "1 copy of another image is left out" in out
    assert "Passed over 1 file: 1 suffix .txt." in out


def test_several_labels_an_image_from_a_csv_file(
    folder: Path, evaluate: Evaluate, tmp_path: Path
) -> None:
    file = tmp_path / "labels.csv"
    lines = [
        f"{path},{'' if path.parent.name == '_other' else path.parent.name},film {i // 4}"
        for i, path in enumerate(sorted(folder.rglob("*.png")))
    ]
    file.write_text("path,label,group\n" + "\n".join(lines), encoding="utf-8")
    assert evaluate(file, "--labels", ",".join(LABELS), "--multi-label") == 0
    assert report_data(tmp_path)["confusion"] is None


def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path) -> None:
    images, cache = tmp_path / "pictures", tmp_path / "cache.sqlite3"
    draw(images, each=150)
    command = [
        *(sys.executable, "-m", "tools.evaluate", str(images), "--labels", ",".join(LABELS)),
        *("--cache", str(cache), "--report", str(tmp_path / "report.html")),
        *("--bundle", str(DEMO), "--processes", "1"),
    ]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr
    while "%|" not in (seen := process.stderr.read(200)) or re.search(r"\b0/450", seen):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.endswith("Interrupted. The same command goes on where it was.\n")
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    first = re.search(r"(\d+)/450", again.stderr)
    assert first and 0 < int(first[1]) < 450
