"""Classifiers by name: files that hold a question, its thresholds and what they were fitted on. The
standard library and pydantic alone.
"""

import array
import hashlib
import json
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

from classifier.contract.bundle import BundleManifest
from classifier.contract.decision import check_thresholds
from classifier.contract.errors import ApiError
from classifier.contract.schema import (
    BY_CATEGORIES,
    BY_LABELS,
    CLASSIFIER_NAME,
    MAX_DIMENSION,
    SLOT,
    WITH_MULTI_LABEL,
    ApiModel,
    JsonObject,
    LabelSpec,
    absent_or,
    from_base64,
    requires_without,
)
from classifier.contract.strict_json import no_constant, no_duplicates
from classifier.contract.validation import check_question, validate

FOLDER = "classifiers"
MAX_CLASSIFIERS = 64
# The largest head, 2,000 prompts of 1,280 numbers, takes 13.7 MB in base64.
MAX_FILE_BYTES = 16_000_000
# Of all that are deployed together: what they take of the function's memory and of its start.
MAX_TOTAL_BYTES = 64_000_000
MAX_TOTAL_PROMPTS = 10_000
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class ClassifierError(Exception):
    """A classifier's file that can't be used; the message names the file and what to do. ASCII
    alone, as Lambda's runtime wants it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.encode("ascii", "backslashreplace").decode())


class FittedOn(ApiModel):
    """What thresholds and head were fitted on: they promise nothing about another model or another
    question.
    """

    model: str = Field(description="The model's name, for people.")
    fingerprint: Sha256 = Field(description="The model's, as `details` gives it.")
    question: Sha256 = Field(description="The sha256 of the question in its canonical form.")


class Head(ApiModel):
    """Learned vectors in the place of the prompts' embeddings; everything after the products with
    them is as it is for words.

    For a normalised image embedding x and vectors W the logits are scale · W x, in the place of
    logit_scale · T x with the prompts' embeddings T. So a head with W = T and scale = logit_scale
    gives the words' own answer, to the last bit.
    """

    vectors: str = Field(
        description=(
            "W, float32, little-endian, [n, d], in base64. One row for each label, or each"
            " category's prompts, in order; with multi_label then one for each negative: as many"
            " again, or one where negative_template has no {}, or none for a model that judges each"
            " label alone (SigLIP)."
        )
    )
    scale: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] = Field(
        description="What the products are multiplied by."
    )
    learned_from: list[Sha256] = Field(
        default_factory=list,
        description="The sha256 of each picture that it learned from, which can't judge it.",
    )

    def floats(self) -> "array.array[float]":
        """The rows one after the other. Raises ValueError for what isn't base64 of whole floats."""
        values = array.array("f", from_base64(self.vectors))
        if sys.byteorder == "big":
            values.byteswap()
        return values


class ClassifierFile(LabelSpec):
    """classifiers/NAME.json: the question, and what a decision is made of."""

    model_config = ConfigDict(
        json_schema_extra={
            "allOf": [
                {"anyOf": [BY_LABELS, BY_CATEGORIES]},
                absent_or("negative_template", WITH_MULTI_LABEL),
                absent_or("head", requires_without("fitted_on")),
            ],
        }
    )

    description: Annotated[str, StringConstraints(min_length=1, max_length=1000)] | None = Field(
        None, description="What it is for, in a sentence or two; `GET /classifiers` shows it."
    )
    fitted_on: FittedOn | None = Field(
        None,
        description=(
            "Where thresholds or head were fitted: on which model and question. Without it the"
            " thresholds were set by hand."
        ),
    )
    head: Head | None = Field(
        None, description="What was learned from examples; needs `fitted_on`."
    )


def canonical(question: LabelSpec) -> JsonObject:
    """All that changes a score, with every default written out. Order counts: a head's rows follow
    it.
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
    """Of the canonical form as JSON in ASCII: keys in order, no white space."""
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


def read_classifier(path: Path) -> ClassifierFile:
    """One file, checked by itself, whatever the model. Raises ClassifierError."""
    if not re.fullmatch(CLASSIFIER_NAME, path.stem):
        raise ClassifierError(
            f"{path} has no name that a request can send; use a-z, 0-9, - and _, at most 64, such"
            " as my-labels.json."
        )
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


def parse_classifier(value: object) -> ClassifierFile:
    """Raises ApiError."""
    if not isinstance(value, dict):
        raise ApiError(400, "invalid_request", "A classifier is a JSON object.")
    file = validate(ClassifierFile, value)
    check_question(file)
    check_thresholds(file)
    if file.head and not file.fitted_on:
        raise ApiError(
            400,
            "invalid_request",
            "head needs fitted_on: which model and question it learned from.",
            "head",
        )
    return file


def fitted_elsewhere(folder: Path, manifest: BundleManifest) -> dict[str, str]:
    """The classifiers in a folder that were fitted on another model, and a sentence for each.

    Raises ClassifierError for a file that can't be read.
    """
    found = {}
    for name in available(folder):
        path = folder / f"{name}.json"
        if message := _other_model(read_classifier(path), manifest, path):
            found[name] = message
    return found


def check_fit(file: ClassifierFile, manifest: BundleManifest, path: Path) -> None:
    """Raises ClassifierError for thresholds or a head that were fitted on another model or
    question, or a head of another shape.
    """
    if message := _other_model(file, manifest, path):
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


def _other_model(file: ClassifierFile, manifest: BundleManifest, path: Path) -> str | None:
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
