"""Reads the folder of classifiers, and checks its files one by one and all together."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from classifier.contract.bundle import BundleManifest
from classifier.contract.classifiers.file import ClassifierError, ClassifierFile, parse_classifier
from classifier.contract.classifiers.fit import check_fit, head_rows, other_model
from classifier.contract.errors import ApiError
from classifier.contract.request.fields import CLASSIFIER_NAME
from classifier.contract.strict_json import no_constant, no_duplicates

FOLDER = "classifiers"
MAX_CLASSIFIERS = 64
# The largest head, 2,000 prompts of 1,280 numbers, takes 13.7 MB in base64.
MAX_FILE_BYTES = 16_000_000
# Limits on all deployed classifiers together, which take memory of the function and time of its
# start.
MAX_TOTAL_BYTES = 64_000_000
MAX_TOTAL_PROMPTS = 10_000


def available(folder: Path) -> list[str]:
    """The names of the files in a folder, which may be missing. macOS keeps its own notes on a file
    under the same name with `._` in front.
    """
    return sorted(path.stem for path in folder.glob("*.json") if not path.name.startswith("."))


def read_classifiers(
    folder: Path, manifest: BundleManifest | None, names: Sequence[str] | None = None
) -> dict[str, ClassifierFile]:
    """The classifiers of these names, or all in the folder, checked against the bundle if there is
    one. Raises ClassifierError, which lists all that don't fit the bundle.
    """
    names = available(folder) if names is None else names
    if len(names) > MAX_CLASSIFIERS:
        raise ClassifierError(
            f"{folder} has {len(names)} classifiers; at most {MAX_CLASSIFIERS} are allowed. Name"
            " those to deploy."
        )
    size = sum(
        (folder / f"{name}.json").stat().st_size
        for name in names
        if (folder / f"{name}.json").is_file()
    )
    if size > MAX_TOTAL_BYTES:
        raise ClassifierError(
            f"{folder}: these {len(names)} files have {size:,} bytes; at most {MAX_TOTAL_BYTES:,}"
            " can be deployed."
        )
    files = {name: read_classifier(folder / f"{name}.json") for name in names}
    if manifest is None:
        return files
    unfit = list[str]()
    for name, file in files.items():
        try:
            check_fit(file, manifest, folder / f"{name}.json")
        except ClassifierError as err:
            unfit.append(str(err))
    if unfit:
        raise ClassifierError("\n".join(unfit))
    prompts = sum(
        head_rows(file, manifest) * len(file.templates)
        for file in files.values()
        if file.head is None
    )
    if prompts > MAX_TOTAL_PROMPTS:
        message = (
            f"{folder}: these {len(names)} classifiers have {prompts:,} prompts, times templates;"
            f" at most {MAX_TOTAL_PROMPTS:,}"
        )
        raise ClassifierError(f"{message} can be encoded at start-up. Name fewer to deploy.")
    return files


def check_name(path: Path) -> None:
    """Raises ClassifierError."""
    if not re.fullmatch(CLASSIFIER_NAME, path.stem):
        raise ClassifierError(
            f"{path} has no name that a request can send; use a-z, 0-9, - and _, at most 64, such"
            " as my-labels.json."
        )


def read_classifier(path: Path) -> ClassifierFile:
    """One file, checked by itself, whatever the model. Raises ClassifierError."""
    check_name(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as err:
        known = ", ".join(available(path.parent)) or "none"
        raise ClassifierError(f"{path} is missing. In this folder: {known}.") from err
    except OSError as err:
        raise ClassifierError(f"{path} can't be read ({err.strerror}).") from err
    if len(data) > MAX_FILE_BYTES:
        raise ClassifierError(
            f"{path} has more than {MAX_FILE_BYTES:,} bytes, which no classifier needs."
        )
    try:
        return parse_classifier(
            json.loads(data, object_pairs_hook=no_duplicates, parse_constant=no_constant)
        )
    except ApiError as err:
        raise ClassifierError(f"{path}: {err.message}") from err
    except (ValueError, RecursionError) as err:
        raise ClassifierError(f"{path} is not JSON in UTF-8 ({err}).") from err


def fitted_elsewhere(folder: Path, manifest: BundleManifest) -> dict[str, str]:
    """The classifiers in a folder that were fitted on another model, and a sentence for each.

    Raises ClassifierError for a file that can't be read.
    """
    found = {}
    for name in available(folder):
        path = folder / f"{name}.json"
        if message := other_model(read_classifier(path), manifest, path):
            found[name] = message
    return found
