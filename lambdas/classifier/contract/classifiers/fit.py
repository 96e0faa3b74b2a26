"""Checks that a classifier is used with the model and the question that it was fitted on."""

import hashlib
import json
import math
from pathlib import Path

from classifier.contract.bundle import BundleManifest
from classifier.contract.classifiers.file import ClassifierError, ClassifierFile, FittedOn, Head
from classifier.contract.limits import MAX_DIMENSION
from classifier.contract.request.fields import SLOT
from classifier.contract.request.label_spec import LabelSpec
from classifier.contract.strict_json import JsonObject


def canonical(question: LabelSpec) -> JsonObject:
    """Everything that changes a score, with every default written out. The order matters, since a
    head's rows follow it.
    """
    names = (
        {label: [label] for label in question.labels} if question.labels else question.categories
    )
    assert names
    return {
        "names": [[name, prompts] for name, prompts in names.items()],
        "templates": question.templates,
        "combine": question.combine if question.categories and not question.multi_label else None,
        "multi_label": question.multi_label,
        "negative_template": question.negative_template if question.multi_label else None,
        "fit": question.fit,
    }


def question_sha256(question: LabelSpec) -> str:
    """The sha256 of the canonical form as JSON in ASCII, with sorted keys and no white space."""
    text = json.dumps(canonical(question), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def fitted_on(manifest: BundleManifest, question: LabelSpec) -> FittedOn:
    return FittedOn(
        model=manifest.name, fingerprint=manifest.fingerprint, question=question_sha256(question)
    )


def head_rows(question: LabelSpec, manifest: BundleManifest) -> int:
    """How many vectors a head for this question has: the prompts, then their negatives."""
    assert question.labels or question.categories
    prompts = (
        len(question.labels)
        if question.labels
        else sum(map(len, (question.categories or {}).values()))
    )
    if not question.multi_label or manifest.scoring == "sigmoid":
        return prompts
    return prompts + (prompts if SLOT in question.negative_template else 1)


def check_fit(file: ClassifierFile, manifest: BundleManifest, path: Path) -> None:
    """Raises ClassifierError for thresholds or a head that were fitted on another model or
    question, or a head of another shape.
    """
    if message := other_model(file, manifest, path):
        raise ClassifierError(message)
    fitted = file.fitted_on
    if fitted is None:
        return
    command = _fit_again(file, path)
    if fitted.question != (question := question_sha256(file)):
        raise ClassifierError(
            f"{path} was fitted on other labels or settings ({fitted.question[:12]}) and can't be"
            f" used with those that it has ({question[:12]}); fit it again: {command}"
        )
    if file.head:
        _check_head(
            file.head,
            head_rows(file, manifest),
            manifest.dimension,
            f"{path}: head.vectors",
            command,
        )


def other_model(file: ClassifierFile, manifest: BundleManifest, path: Path) -> str | None:
    fitted = file.fitted_on
    if fitted is None or fitted.fingerprint == manifest.fingerprint:
        return None
    return (
        f"{path} was fitted on {fitted.model} ({fitted.fingerprint[:12]}) and can't be used"
        f" with {manifest.name} ({manifest.fingerprint[:12]}); fit it again:"
        f" {_fit_again(file, path)}"
    )


def _fit_again(file: ClassifierFile, path: Path) -> str:
    return (
        f"make {'learn' if file.head else 'evaluate'} PICTURES=... CLASSIFIER={path.stem}"
        " OPTIONS=--save"
    )


def _check_head(head: Head, rows: int, dimension: int, field: str, command: str) -> None:
    try:
        values = head.floats()
    except ValueError as err:
        raise ClassifierError(
            f"{field} is not base64 of float32 numbers; fit it again: {command}"
        ) from err
    if len(values) != rows * dimension or dimension > MAX_DIMENSION:
        message = (
            f"{field} has {len(values)} numbers instead of {rows} x {dimension}; fit it again:"
            f" {command}"
        )
        raise ClassifierError(message)
    if not all(map(math.isfinite, values)):
        raise ClassifierError(f"{field} has numbers that are not finite; fit it again: {command}")
