"""The tools with a model that judges each label alone, as SigLIP's loss trains them."""

import json
from pathlib import Path
from typing import Any

import pytest
import requests

from classifier.api.handler import Handler
from classifier.contract.classifiers.folder import read_classifiers
from classifier.model.encoders import Encoders
from tests.support.labelled import LABELS, draw, report_data
from tests.support.programs import exit_status
from tests.support.requests import DEMO, base64_of
from tests.support.results import lines, run
from tests.support.sigmoid import sigmoid_bundle
from tools.evaluate.__main__ import main as evaluate
from tools.evaluate.learn.__main__ import main as learn
from tools.local.serve import running

# Probabilities of what is there are about 0.01 then, as with trained models.
LOW = -13.0
QUESTION = {"labels": list(LABELS), "multi_label": True}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("pictures")
    draw(found, each=20, others=20)
    return found


@pytest.fixture(scope="module")
def low(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sigmoid_bundle(tmp_path_factory.mktemp("bundles") / "low", LOW)


@pytest.fixture
def options(tmp_path: Path) -> list[object]:
    """But for the bundle."""
    files = ["--cache", tmp_path / "cache.sqlite3", "--report", tmp_path / "report.html"]
    return [*files, "--processes", 1]


def test_thresholds_far_below_a_half_are_found_saved_and_decide(
    folder: Path, low: Path, options: list[object], tmp_path: Path
) -> None:
    path = tmp_path / "classifiers" / "shapes.json"
    path.parent.mkdir()
    path.write_text(json.dumps(QUESTION), encoding="utf-8")
    given = ["--classifier", path, "--precision", "0.7", "--save", "--bundle", low]
    assert exit_status(evaluate, folder, *given, *options) == 0
    saved = json.loads(path.read_text(encoding="utf-8"))
    assert all(0.001 < threshold < 0.05 for threshold in saved["thresholds"].values())
    encoders = Encoders.load(low, threads=1)
    handler = Handler(encoders, classifiers=read_classifiers(path.parent, encoders.manifest))
    image = sorted((folder / LABELS[0]).glob("*.png"))[3]
    with running(handler) as url:
        body = {"image_data": base64_of(image.read_bytes()), "classifier": "shapes"}
        answer = requests.post(url, json=body, timeout=30).json()
    assert [one["name"] for one in answer["decision"]["labels"]] == [LABELS[0]]


def test_an_endpoint_is_judged_as_its_model_here(
    folder: Path, low: Path, options: list[object], tmp_path: Path, capsys: Any
) -> None:
    question = ["--labels", ",".join(LABELS), "--multi-label"]
    found = []
    with running(Handler(Encoders.load(low, threads=1))) as url:
        for where in (["--endpoint", url], ["--bundle", low]):
            capsys.readouterr()
            assert exit_status(evaluate, folder, *question, *options, *where) == 0
            found.append((capsys.readouterr().out, report_data(tmp_path)["tables"]))
    assert found[0] == found[1]


def test_both_kinds_are_compared_each_with_what_it_takes(
    folder: Path, low: Path, options: list[object], tmp_path: Path
) -> None:
    """CLIP needs something that stands for absence, which the other kind refuses."""
    question = ["--labels", ",".join(LABELS), "--multi-label"]
    alone = []
    for bundle, more in ((DEMO, ["--negative-template", "something else"]), (low, [])):
        assert exit_status(evaluate, folder, *question, *more, *options, "--bundle", bundle) == 0
        alone += report_data(tmp_path)["tables"]
    more = ["--negative-template", "something else", "--bundle", f"{DEMO} {low}"]
    assert exit_status(evaluate, folder, *question, *more, *options) == 0
    rows = [table["rows"] for table in report_data(tmp_path)["tables"]]
    assert rows[:2] == [table["rows"] for table in alone]


def test_a_head_is_learned_without_negatives(
    folder: Path, low: Path, options: list[object], tmp_path: Path
) -> None:
    path = tmp_path / "shapes.json"
    path.write_text(json.dumps(QUESTION), encoding="utf-8")
    given = ["--classifier", path, "--save", "--anyway", "--bundle", low]
    assert exit_status(learn, folder, *given, *options) == 0
    encoders = Encoders.load(low, threads=1)
    files = read_classifiers(tmp_path, encoders.manifest)
    head = files["shapes"].head
    assert head and len(head.floats()) == len(LABELS) * encoders.manifest.dimension
    image = sorted((folder / LABELS[0]).glob("*.png"))[3]
    with running(Handler(encoders, classifiers=files)) as url:
        body = {"image_data": base64_of(image.read_bytes()), "classifier": "shapes"}
        result = requests.post(url, json=body, timeout=30).json()["result"]
    # The words alone give about 0.01: learning moves what the bias is for.
    assert result[LABELS[0]] > 0.5 > max(result[LABELS[1]], result[LABELS[2]])


def test_make_classify_writes_the_answers_of_its_api(
    folder: Path, low: Path, tmp_path: Path
) -> None:
    output = tmp_path / "results.jsonl"
    request = tmp_path / "request.json"
    request.write_text(json.dumps(QUESTION), encoding="utf-8")
    given = ["--request", request, "--bundle", low, "--processes", 1, "--output", output]
    assert run(folder / LABELS[1], *given) is None
    with running(Handler(Encoders.load(low, threads=1))) as url:
        for name, line in list(lines(output).items())[:3]:
            data = (folder / LABELS[1] / name).read_bytes()
            body = {"image_data": base64_of(data), **QUESTION}
            assert line["result"] == requests.post(url, json=body, timeout=30).json()["result"]
