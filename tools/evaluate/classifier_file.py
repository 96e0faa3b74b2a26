"""The classifier that is judged, and what is written back into its file."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from classifier.contract.bundle import BundleManifest
from classifier.contract.classifier_file import ClassifierError, ClassifierFile, parse_classifier
from classifier.contract.classifier_fit import check_fit, fitted_on, question_sha256
from classifier.contract.classifier_folder import read_classifier, read_classifiers
from classifier.contract.errors import ApiError
from classifier.contract.strict_json import JsonObject, no_constant, no_duplicates
from tools.classify import CLASSIFIERS


@dataclass(frozen=True)
class Judged:
    """A classifier by a name to show. `value`: as its file has it; `path`: None for one that was only asked on the command line."""

    name: str
    path: Path | None
    value: JsonObject
    file: ClassifierFile

    @property
    def names(self) -> list[str]:
        return list(self.file.labels or self.file.categories or ())


def path_of(name: str) -> Path:
    """A name stands for a file in the folder of classifiers; what ends in .json is a path."""
    return Path(name) if name.endswith(".json") else CLASSIFIERS / f"{name}.json"


def open_classifier(name: str) -> Judged:
    """Whatever it was fitted on. Raises ClassifierError."""
    path = path_of(name)
    file = read_classifier(path)
    value = json.loads(path.read_bytes(), object_pairs_hook=no_duplicates, parse_constant=no_constant)
    return Judged(path.stem, path, value, file)


def from_options(options: JsonObject) -> Judged:
    """Labels and what goes with them. Raises ClassifierError."""
    try:
        return Judged("these labels", None, options, parse_classifier(options))
    except ApiError as err:
        raise ClassifierError(err.message) from err


def usable(judged: Judged, manifest: BundleManifest) -> tuple[ClassifierFile, str]:
    """The file as it can be judged on this model, and a note: thresholds of another model or question are left out.

    Raises ClassifierError for a head of another model or question.
    """
    file, fitted = judged.file, judged.file.fitted_on
    if file.head:
        check_fit(file, manifest, judged.path or Path(judged.name))
    if not fitted or not file.thresholds:
        return file, ""
    if fitted.fingerprint == manifest.fingerprint and fitted.question == question_sha256(file):
        return file, ""
    what = "another model" if fitted.fingerprint != manifest.fingerprint else "other labels or settings"
    without = {"thresholds": None, "actions": None, "min_similarity": None, "fitted_on": None}
    return file.model_copy(update=without), f"Its thresholds are left out: they were fitted on {what}."


def save(judged: Judged, path: Path, changes: JsonObject, manifest: BundleManifest) -> None:
    """Writes the classifier with these changes and what they were fitted on, checked as the server checks it; None removes a field.

    The file is replaced whole, or stays as it was. Raises ClassifierError.
    """
    changed = {name: item for name, item in (judged.value | changes).items() if item is not None}
    try:
        question = parse_classifier({name: item for name, item in changed.items() if name not in ("fitted_on", "head")})
    except ApiError as err:
        raise ClassifierError(f"{path} stays as it was: {err.message}") from err
    changed["fitted_on"] = fitted_on(manifest, question).model_dump()
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".", dir=path.parent) as folder:
        beside = Path(folder) / path.name
        beside.write_text(json.dumps(changed, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        try:
            read_classifiers(beside.parent, manifest, [path.stem])
        except ClassifierError as err:
            raise ClassifierError(f"{path} stays as it was: {err}") from err
        os.replace(beside, path)
