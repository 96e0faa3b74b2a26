import json
from pathlib import Path
from typing import Any

import pytest

from classifier.contract.bundle import read_manifest
from classifier.contract.classifiers.file import ClassifierError, parse_classifier
from classifier.contract.classifiers.fit import fitted_on
from classifier.contract.classifiers.folder import read_classifiers
from tests.support.local import bundle
from tests.support.requests import DEMO
from tools.deploy.checks import context
from tools.evaluate.classifier_file import (
    deploy_command,
    from_options,
    open_classifier,
    save,
    usable,
)
from tools.workers import path_of

MANIFEST = read_manifest(DEMO, verify_hashes=False)
QUESTION: dict[str, Any] = {
    "description": "Café.",
    "labels": ["a dog", "a cat"],
    "templates": ["a photo of {}"],
}


def written(folder: Path, **more: Any) -> Path:
    path = folder / "mine.json"
    path.write_text(json.dumps(QUESTION | more), encoding="utf-8")
    return path


def fitted(**more: Any) -> dict[str, Any]:
    return fitted_on(MANIFEST, parse_classifier(QUESTION)).model_dump() | more


def test_what_is_saved_passes_the_servers_checks_and_keeps_the_rest(tmp_path: Path) -> None:
    path = written(tmp_path, thresholds={"a cat": 0.9}, min_similarity=0.1)
    save(open_classifier(str(path)), path, {"thresholds": {"a dog": 0.5}}, MANIFEST)
    file = read_classifiers(tmp_path, MANIFEST)["mine"]
    assert (file.description, file.thresholds, file.min_similarity) == (
        "Café.",
        {"a dog": 0.5},
        0.1,
    )
    assert file.fitted_on is not None and file.fitted_on.fingerprint == MANIFEST.fingerprint
    assert [item.name for item in tmp_path.iterdir()] == ["mine.json"]
    assert "Café" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "changes", [{"thresholds": {"a dog": float("nan")}}, {"thresholds": {"a horse": 0.5}}]
)
def test_what_the_server_would_refuse_leaves_the_file_as_it_was(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    path = written(tmp_path)
    before = path.read_bytes()
    with pytest.raises(ClassifierError, match=r"mine\.json stays as it was"):
        save(open_classifier(str(path)), path, changes, MANIFEST)
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["mine.json"]


def test_labels_of_the_command_line_become_a_new_file(tmp_path: Path) -> None:
    path = tmp_path / "classifiers" / "new.json"
    save(
        from_options({"labels": ["a dog", "a cat"]}), path, {"thresholds": {"a dog": 0.5}}, MANIFEST
    )
    assert read_classifiers(path.parent, MANIFEST).keys() == {"new"}


@pytest.mark.parametrize(
    "changes", [{"thresholds": {"a horse": 0.5}}, {"head": {"vectors": "AAAA", "scale": 1.0}}]
)
def test_a_new_file_that_is_refused_was_not_written_and_no_other_path_is_named(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "new.json"
    with pytest.raises(ClassifierError, match=r"new\.json was not written\. ") as refused:
        save(from_options({"labels": ["a dog", "a cat"]}), path, changes, MANIFEST)
    assert f"{tmp_path}/." not in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_the_command_that_deploys_names_the_bundle_that_a_deployment_would_not_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    path = path_of("pets")
    assert deploy_command(path, MANIFEST) == ""
    mine = bundle(Path("models/mine"))
    command = 'make deploy-cdk SETTINGS="classifiers=pets"'
    assert deploy_command(path, MANIFEST) == f"{command} BUNDLE=models/mine"
    assert deploy_command(Path("elsewhere/pets.json"), MANIFEST) == ""
    mine.rename(context()["bundle"])
    assert deploy_command(path, MANIFEST) == command


def test_labels_that_the_api_refuses_are_refused() -> None:
    with pytest.raises(ClassifierError, match="labels"):
        from_options({"labels": ["a dog, a cat"]})


@pytest.mark.parametrize(
    ("field", "what"), [("fingerprint", "another model"), ("question", "other labels or settings")]
)
def test_thresholds_of_another_model_or_question_are_left_out(
    field: str, what: str, tmp_path: Path
) -> None:
    path = written(tmp_path, thresholds={"a dog": 0.5}, fitted_on=fitted(**{field: "0" * 64}))
    file, note = usable(open_classifier(str(path)), MANIFEST)
    assert (file.thresholds, file.labels) == (None, ["a dog", "a cat"])
    assert f"fitted on {what}" in note


def test_thresholds_of_this_model_and_question_stay(tmp_path: Path) -> None:
    path = written(tmp_path, thresholds={"a dog": 0.5}, fitted_on=fitted())
    assert usable(open_classifier(str(path)), MANIFEST)[0].thresholds == {"a dog": 0.5}


def test_a_head_of_another_question_is_refused_with_the_command_that_learns_again(
    tmp_path: Path,
) -> None:
    head = {"vectors": "AAAA", "scale": 1.0}
    path = written(tmp_path, head=head, fitted_on=fitted(question="0" * 64))
    with pytest.raises(ClassifierError, match="fit it again: make learn"):
        usable(open_classifier(str(path)), MANIFEST)
