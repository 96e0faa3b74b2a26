import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from classifier.contract.bundle import BundleManifest, read_manifest
from classifier.contract.classifiers.file import ClassifierError, Head, parse_classifier
from classifier.contract.classifiers.fit import fitted_on, question_sha256
from classifier.contract.classifiers.folder import read_classifier, read_classifiers

ROOT = Path(__file__).parent.parent.parent
MANIFEST = read_manifest(ROOT / "models" / "demo", verify_hashes=False)
LABELS: dict[str, Any] = {"labels": ["a cat", "a dog"]}


def written(folder: Path, value: object, name: str = "pets") -> Path:
    path = folder / f"{name}.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def fitted(value: dict[str, Any], manifest: BundleManifest = MANIFEST) -> dict[str, Any]:
    return value | {"fitted_on": fitted_on(manifest, parse_classifier(value)).model_dump()}


def head(rows: np.ndarray[Any, Any], **more: Any) -> dict[str, Any]:
    return {
        "vectors": base64.b64encode(rows.astype("<f4").tobytes()).decode(),
        "scale": 20.0,
        **more,
    }


def test_the_projects_own_classifiers_can_be_used_with_the_demo_model() -> None:
    assert {"drawings", "moderation"} <= read_classifiers(ROOT / "classifiers", MANIFEST).keys()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (
            LABELS,
            LABELS | {"description": "Pets", "thresholds": {"a cat": 0.5}, "min_similarity": 0.2},
            True,
        ),
        (LABELS, {"categories": {"a cat": ["a cat"], "a dog": ["a dog"]}, "combine": "max"}, False),
        (LABELS, LABELS | {"templates": ["{}"], "multi_label": False}, True),
        (LABELS, {"labels": ["a dog", "a cat"]}, False),
        (LABELS, {"labels": ["a cat", "a dog", "a bird"]}, False),
        (LABELS, LABELS | {"templates": ["a photo of {}"]}, False),
        (LABELS, LABELS | {"fit": "pad"}, False),
        (LABELS, LABELS | {"multi_label": True}, False),
        (
            LABELS | {"multi_label": True},
            LABELS | {"multi_label": True, "negative_template": "nothing"},
            False,
        ),
    ],
)
def test_the_questions_hash_tells_what_changes_a_score_from_what_does_not(
    one: dict[str, Any], other: dict[str, Any], same: bool
) -> None:
    assert (
        question_sha256(parse_classifier(one)) == question_sha256(parse_classifier(other))
    ) is same


def test_thresholds_of_another_model_or_another_question_are_stale(tmp_path: Path) -> None:
    value = fitted(LABELS | {"thresholds": {"a cat": 0.7}})
    written(tmp_path, value)
    assert read_classifiers(tmp_path, MANIFEST)["pets"].thresholds == {"a cat": 0.7}
    merges = MANIFEST.files["tokenizer.safetensors"].model_copy(update={"sha256": "0" * 64})
    other = MANIFEST.model_copy(
        update={"files": MANIFEST.files | {"tokenizer.safetensors": merges}, "model": "other"}
    )
    with pytest.raises(
        ClassifierError,
        match=(
            r"fitted on demo \(\w{12}\) and can't be used with other \(\w{12}\); fit it again: make"
        ),
    ):
        read_classifiers(tmp_path, other)
    written(tmp_path, value | {"labels": ["a cat", "a dog", "a bird"]})
    with pytest.raises(
        ClassifierError,
        match=(
            r"other labels or settings .* fit it again: make evaluate PICTURES=... CLASSIFIER=pets"
        ),
    ):
        read_classifiers(tmp_path, MANIFEST)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[1]", "is a JSON object"),
        ("{", "is not JSON"),
        ('{"labels": ["a", "b"], "labels": ["c"]}', "appears twice"),
        ('{"labels": ["a", "b"], "min_similarity": NaN}', "NaN is not JSON"),
        ({}, "labels is missing"),
        (LABELS | {"label": ["a"]}, 'The field "label" is unknown. Did you mean "?labels'),
        (LABELS | {"head": {"vectors": "", "scale": 1}}, "head needs fitted_on"),
        (
            LABELS | {"fitted_on": {"model": "demo", "fingerprint": "x", "question": "y"}},
            "fitted_on.fingerprint must have the form",
        ),
        (
            LABELS | {"thresholds": {"a cow": 0.5}},
            'has "a cow", which is no label or category here. Did you mean',
        ),
        (LABELS | {"thresholds": {"a cat": 1.5}}, "thresholds.a cat must be a probability"),
        (LABELS | {"thresholds": {"a cat": {"block": 0.5}}}, "names actions"),
        (
            LABELS | {"actions": ["review", "block"], "thresholds": {"a cat": 0.5}},
            "must say which action it is for",
        ),
        (
            LABELS | {"actions": ["review"], "thresholds": {"a cat": {"revue": 0.5}}},
            'Did you mean "review"',
        ),
        (
            LABELS
            | {
                "actions": ["review", "block"],
                "thresholds": {"a cat": {"block": 0.5, "review": 0.6}},
            },
            "stricter",
        ),
        ({"labels": ["a cat"], "thresholds": {"a cat": 0.5}}, "always gets 1.0"),
        ({"labels": ["a \ud800", "b"]}, "half of a surrogate pair"),
    ],
)
def test_a_file_that_cannot_mean_what_it_says_is_refused_by_name(
    tmp_path: Path, value: object, message: str
) -> None:
    with pytest.raises(ClassifierError) as refused:
        read_classifier(written(tmp_path, value))
    assert message.replace('"?', "") in str(refused.value) and str(tmp_path / "pets.json") in str(
        refused.value
    )
    assert str(refused.value).isascii()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((3, 192)), "576 numbers instead of 2 x 192"),
        (np.full((2, 192), np.nan), "not finite"),
    ],
)
def test_a_head_of_another_shape_or_without_finite_numbers_is_refused(
    tmp_path: Path, rows: np.ndarray[Any, Any], message: str
) -> None:
    written(tmp_path, fitted(LABELS) | {"head": head(rows)})
    with pytest.raises(ClassifierError, match=f"{message}; fit it again: make learn"):
        read_classifiers(tmp_path, MANIFEST)


def test_a_heads_vectors_are_read_as_they_were_written(tmp_path: Path) -> None:
    rows = np.random.default_rng(1).normal(size=(2, 192)).astype(np.float32)
    written(tmp_path, fitted(LABELS) | {"head": head(rows)})
    found = read_classifiers(tmp_path, MANIFEST)["pets"].head
    assert isinstance(found, Head) and np.array_equal(
        np.array(found.floats(), np.float32).reshape(2, 192), rows
    )


def test_files_that_no_request_can_name_or_that_are_not_there_are_refused(tmp_path: Path) -> None:
    written(tmp_path, LABELS, "My Pets")
    with pytest.raises(ClassifierError, match="no name that a request can send"):
        read_classifiers(tmp_path, MANIFEST)
    with pytest.raises(ClassifierError, match=r"dogs.json is missing. In this folder: My Pets"):
        read_classifiers(tmp_path, MANIFEST, ["dogs"])
    (tmp_path / "big.json").write_bytes(b" " * 16_000_001)
    with pytest.raises(ClassifierError, match="more than 16,000,000 bytes"):
        read_classifiers(tmp_path, MANIFEST, ["big"])
