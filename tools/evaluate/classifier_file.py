"""The classifier that is judged, and its file."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from classifier.contract.bundle import BundleManifest
from classifier.contract.classifiers.file import ClassifierError, ClassifierFile, parse_classifier
from classifier.contract.classifiers.fit import check_fit, fitted_on, question_sha256
from classifier.contract.classifiers.folder import read_classifier, read_classifiers
from classifier.contract.errors import ApiError
from classifier.contract.strict_json import JsonObject, no_constant, no_duplicates
from tools.bundles import of_model
from tools.deploy.account import CDK_JSON
from tools.workers import CLASSIFIERS, path_of

# Fields that depend on the thresholds' model and question.
FITTED = ("thresholds", "actions", "min_similarity", "fitted_on")


@dataclass(frozen=True)
class Candidate:
    """A classifier by a name to show. `value`: its file as JSON; `path`: None for labels that were
    only named on the command line."""

    name: str
    path: Path | None
    value: JsonObject
    file: ClassifierFile

    @property
    def names(self) -> list[str]:
        return list(self.file.labels or self.file.categories or ())


def open_classifier(name: str) -> Candidate:
    """Of any model. Raises ClassifierError."""
    path = path_of(name)
    file = read_classifier(path)
    text = path.read_bytes()
    value = json.loads(text, object_pairs_hook=no_duplicates, parse_constant=no_constant)
    return Candidate(path.stem, path, value, file)


def from_options(options: JsonObject) -> Candidate:
    """Labels and their options. Raises ClassifierError."""
    try:
        return Candidate("these labels", None, options, parse_classifier(options))
    except ApiError as err:
        raise ClassifierError(err.message) from err


def unsaved(path: Path) -> str:
    """What became of a file into which nothing was saved."""
    return f"{path} stays as it was." if path.exists() else f"{path} was not written."


def deploy_command(path: Path, manifest: BundleManifest) -> str:
    """The command that deploys a saved classifier with its model; empty if either isn't where a
    deployment looks for it.
    """
    bundles = [str(found) for found in of_model(manifest.fingerprint)]
    if path.parent != CLASSIFIERS or not bundles:
        return ""
    default = json.loads(CDK_JSON.read_bytes())["context"].get("bundle")
    option = "" if default in bundles else f" BUNDLE={bundles[0]}"
    return f'make deploy-cdk SETTINGS="classifiers={path.stem}"{option}'


def usable(candidate: Candidate, manifest: BundleManifest) -> tuple[ClassifierFile, str]:
    """The file without thresholds of another model or question, and a note if it had some.

    Raises ClassifierError for a head of another model or question.
    """
    file = candidate.file
    fitted = file.fitted_on
    if file.head:
        check_fit(file, manifest, candidate.path or Path(candidate.name))
    if not fitted or not file.thresholds:
        return file, ""
    same_model = fitted.fingerprint == manifest.fingerprint
    if same_model and fitted.question == question_sha256(file):
        return file, ""
    other = "other labels or settings" if same_model else "another model"
    without = file.model_copy(update=dict.fromkeys(FITTED))
    return without, f"Its thresholds are left out: they were fitted on {other}."


def save(candidate: Candidate, path: Path, changes: JsonObject, manifest: BundleManifest) -> None:
    """Writes the classifier with these changes and `fitted_on`, checked as the server checks it.

    None removes a field. The file is replaced whole, or stays as it was. Raises ClassifierError.
    """
    kept = unsaved(path)
    changed = {name: item for name, item in (candidate.value | changes).items() if item is not None}
    try:
        unfitted = {name: changed[name] for name in changed.keys() - {"fitted_on", "head"}}
        question = parse_classifier(unfitted)
    except ApiError as err:
        raise ClassifierError(f"{kept} {err.message}") from err
    changed["fitted_on"] = fitted_on(manifest, question).model_dump()
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".", dir=path.parent) as folder:
        partial = Path(folder) / path.name
        text = json.dumps(changed, ensure_ascii=False, indent=2)
        partial.write_text(f"{text}\n", encoding="utf-8")
        try:
            read_classifiers(partial.parent, manifest, [path.stem])
        except ClassifierError as err:
            message = str(err).replace(str(partial.parent), str(path.parent))
            raise ClassifierError(f"{kept} {message}") from err
        os.replace(partial, path)
