"""The images that a classifier is judged on, with their embeddings and its probabilities."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from classifier.contract.bundle import BundleManifest
from classifier.contract.classifiers.file import ClassifierError, ClassifierFile
from classifier.engine.registry import Registry
from classifier.model.scoring import Floats
from tools.evaluate.classifier_file import Candidate, usable
from tools.evaluate.copies import near_copies
from tools.evaluate.embeddings import Cache, Outcome
from tools.evaluate.images import distinct, groups, read_images, truth
from tools.evaluate.labelled import ImagesError, Labelled
from tools.evaluate.scores import Source, score
from tools.folders import summary

# Of broken files, and of others that are named as examples.
LISTED = 10


@dataclass(frozen=True)
class Answers:
    """One classifier's: `embeddings` [N, d]; `probabilities` [N, L]; `counted`: the same, but 0 if
    min_similarity lets no label count."""

    candidate: Candidate
    file: ClassifierFile
    embeddings: NDArray[np.float32]
    probabilities: Floats
    counted: Floats

    def part(self, chosen: NDArray[np.int64]) -> "Answers":
        return replace(
            self,
            embeddings=self.embeddings[chosen],
            probabilities=self.probabilities[chosen],
            counted=self.counted[chosen],
        )


@dataclass(frozen=True)
class Dataset:
    """N images, L labels. `hashes`: the sha256 of each image; `truth`: bool [N, L]; `groups`: int
    [N]; `notes`: which images were left out, and why.
    """

    names: list[str]
    images: list[Labelled]
    hashes: list[str]
    truth: NDArray[np.bool_]
    groups: NDArray[np.int64]
    answers: list[Answers]
    notes: list[str]

    def part(self, chosen: NDArray[np.int64]) -> "Dataset":
        """The images of these numbers alone, in their order."""
        return replace(
            self,
            images=[self.images[i] for i in chosen],
            hashes=[self.hashes[i] for i in chosen],
            truth=self.truth[chosen],
            groups=self.groups[chosen],
            answers=[each.part(chosen) for each in self.answers],
        )


def gather(
    source: Source,
    folder: Path,
    candidates: Sequence[Candidate],
    cache: Cache,
    exclude: Sequence[str] = (),
) -> Dataset:
    """Judges all classifiers on the same images. Raises ImagesError and ClassifierError."""
    names = candidates[0].names
    files, notes = _files(candidates, source.manifest)
    # Done before any image is read, so that a mistake in a wording costs no time.
    keys = [f"{i}: {each.name}" for i, each in enumerate(candidates)]
    prepared = _prepare(source, dict(zip(keys, files, strict=True)))
    images, passed_over = read_images(folder, names, exclude)
    notes += filter(None, [summary(passed_over)])
    places = {image.path: f" ({image.place})" for image in images if image.place}
    hashes, broken = cache.hashes([image.path for image in images])
    multi_label = all(file.multi_label for file in files)
    images, copies = distinct(images, hashes, multi_label=multi_label)
    if copies:
        are = "copy of another image is" if len(copies) == 1 else "copies of other images are"
        notes.append(f"{len(copies):,} {are} left out, such as {copies[0].path}.")
    learned_from = {content for file in files if file.head for content in file.head.learned_from}
    taught = {
        hashes[image.path]: image.path for image in images if hashes[image.path] in learned_from
    }
    if taught:
        notes.append(
            f"{len(taught):,} images are left out, since the classifier learned from them."
        )
    kept = [image for image in images if hashes[image.path] not in taught]
    contents = {hashes[image.path]: image.path for image in kept}
    by_fit: dict[object, dict[str, Outcome]] = {}
    for file in files:
        if file.fit not in by_fit:
            by_fit[file.fit] = source.embed(file.fit, contents, cache)
    for outcomes in by_fit.values():
        broken |= {
            contents[content]: outcome
            for content, outcome in outcomes.items()
            if isinstance(outcome, str)
        }
    kept = [image for image in kept if image.path not in broken]
    notes += _broken_notes({path: why + places.get(path, "") for path, why in broken.items()})
    known = {hashes[image.path]: image.path for image in kept}
    small = cache.small_versions(known | taught, learned_from)
    numbers = near_copies([small.get(content) for content in [*known, *sorted(learned_from)]])
    near_taught = np.isin(numbers[: len(kept)], numbers[len(kept) :])
    if near_taught.any():
        notes.append(
            f"{near_taught.sum():,} images are left out, since the classifier learned from "
            "near-copies of them."
        )
    kept = [image for image, out in zip(kept, near_taught, strict=True) if not out]
    numbers = numbers[: len(near_taught)][~near_taught]
    notes += _copies_notes(kept, numbers)
    _check_enough(kept, notes, learned=len(taught) + int(near_taught.sum()))
    answers = []
    for key, each, file in zip(keys, candidates, files, strict=True):
        outcomes = by_fit[file.fit]
        embeddings = np.stack([np.asarray(outcomes[hashes[image.path]]) for image in kept])
        answers.append(answer(prepared, key, each, file, names, source.manifest, embeddings))
    contents_kept = [hashes[image.path] for image in kept]
    shown = truth(kept, names)
    return Dataset(names, kept, contents_kept, shown, groups(kept, numbers), answers, notes)


def _files(
    candidates: Sequence[Candidate], manifest: BundleManifest
) -> tuple[list[ClassifierFile], list[str]]:
    """The parts of each classifier that can be judged on this model, and notes. Raises
    ClassifierError.
    """
    first = candidates[0]
    files, notes = list[ClassifierFile](), list[str]()
    for each in candidates:
        if other := sorted(set(each.names) ^ set(first.names)):
            raise ClassifierError(
                f"{first.name} and {each.name} can't be compared: only one of them knows "
                f"{', '.join(other[:LISTED])}."
            )
        file, note = usable(each, manifest)
        files.append(file)
        notes += [f"{each.name}: {note}"] if note else []
    return files, notes


def _check_enough(kept: Sequence[Labelled], notes: Sequence[str], *, learned: int) -> None:
    """Raises ImagesError if there is nothing to judge by."""
    if not kept:
        raise ImagesError("\n".join(["No image is left to judge by.", *notes]))
    if learned and not any(image.labels for image in kept):
        advice = "Judge it on other images, or teach it with a guarantee, which holds some back."
        raise ImagesError("\n".join([f"No image of a label is left. {advice}", *notes]))


def answer(
    prepared: Registry,
    key: str,
    candidate: Candidate,
    file: ClassifierFile,
    names: Sequence[str],
    manifest: BundleManifest,
    embeddings: NDArray[np.float32],
) -> Answers:
    """The answers of the prepared classifier `key`, in the order of `names`."""
    found = score(prepared, key, manifest, embeddings)
    probabilities = found.probabilities[:, [found.names.index(name) for name in names]]
    least = -np.inf if file.min_similarity is None else file.min_similarity
    counted = np.where((found.largest >= least)[:, None], probabilities, 0.0)
    return Answers(candidate, file, embeddings, probabilities, counted)


def _prepare(source: Source, files: Mapping[str, ClassifierFile]) -> Registry:
    try:
        return source.prepare(files)
    except ClassifierError as err:
        # The number that tells the two apart is no part of a file's name.
        message = re.sub(r"^classifiers/\d+: (.*?)\.json: ", r"\1: ", str(err))
        raise ClassifierError(message) from err


def _copies_notes(images: Sequence[Labelled], copies: NDArray[np.int64]) -> list[str]:
    """Which images are near-copies, unless the CSV file says to which group they belong."""
    found: dict[int, list[Labelled]] = {}
    for image, number in zip(images, copies.tolist(), strict=True):
        if not image.group:
            found.setdefault(number, []).append(image)
    sets = [alike for alike in found.values() if len(alike) > 1]
    if not sets:
        return []
    number_of_groups = "1 group" if len(sets) == 1 else f"{len(sets):,} groups"
    notes = [
        f"{sum(map(len, sets)):,} images are near-copies (thumbnails, re-encodings, neighbouring "
        f"frames): {number_of_groups}, each of which counts as one piece of evidence:"
    ]
    # Those under different labels first: one image may lie in the wrong place.
    sets.sort(key=lambda alike: len({image.labels for image in alike}) == 1)
    for alike in sets[:LISTED]:
        first = alike[0]
        second = next((image for image in alike if image.labels != first.labels), alike[1])
        more = f" and {len(alike) - 2:,} more" if len(alike) > 2 else ""
        differ = ", under different labels" if second.labels != first.labels else ""
        notes.append(f"  {first.path}, {second.path}{more}{differ}")
    return [*notes, *_more(len(sets))]


def _broken_notes(broken: Mapping[Path, str]) -> list[str]:
    if not broken:
        return []
    are = "file is" if len(broken) == 1 else "files are"
    lines = [f"  {path}: {reason}" for path, reason in islice(sorted(broken.items()), LISTED)]
    return [f"{len(broken):,} broken {are} left out:", *lines, *_more(len(broken))]


def _more(count: int) -> list[str]:
    return [f"… and {count - LISTED:,} more."] if count > LISTED else []
