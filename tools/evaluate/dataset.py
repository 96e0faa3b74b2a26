"""What a classifier is judged on: pictures with their embeddings and its scores, and what was left out of them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from classifier.contract.bundle import BundleManifest
from classifier.contract.classifier_file import ClassifierError, ClassifierFile
from classifier.engine.registry import Registry
from classifier.model.scoring import Floats
from tools.evaluate.classifier_file import Judged, usable
from tools.evaluate.copies import near_copies
from tools.evaluate.embeddings import Cache, Outcome
from tools.evaluate.pictures import Labelled, PicturesError, distinct, groups, read_pictures, truth
from tools.evaluate.scores import Source, score
from tools.folders import summary

# Of broken files.
LISTED = 10


@dataclass(frozen=True)
class Answers:
    """One classifier's: `embeddings` [N, d]; `probabilities` [N, L]; `counted`: the same, and 0 where min_similarity lets no name
    count."""

    judged: Judged
    file: ClassifierFile
    embeddings: NDArray[np.float32]
    probabilities: Floats
    counted: Floats


@dataclass(frozen=True)
class Material:
    """N pictures, L names. `hashes`: the sha256 of each picture; `truth`: bool [N, L]; `groups`: int [N]; `notes`: what was left out,
    and why."""

    names: list[str]
    pictures: list[Labelled]
    hashes: list[str]
    truth: NDArray[np.bool_]
    groups: NDArray[np.int64]
    answers: list[Answers]
    notes: list[str]


def gather(source: Source, folder: Path, judged: Sequence[Judged], cache: Cache, exclude: Sequence[str] = ()) -> Material:
    """Judges all classifiers on the same pictures. Raises PicturesError and ClassifierError."""
    names, notes = judged[0].names, list[str]()
    files = []
    for each in judged:
        if set(each.names) != set(names):
            other = sorted(set(each.names) ^ set(names))
            raise ClassifierError(
                f"{judged[0].name} and {each.name} can't be compared: only one of them knows {', '.join(other[:LISTED])}."
            )
        file, note = usable(each, source.manifest)
        files.append(file)
        notes += [f"{each.name}: {note}"] if note else []
    # So that what is wrong with a wording costs no picture.
    keys = [f"{i}: {each.name}" for i, each in enumerate(judged)]
    prepared = _prepare(source, dict(zip(keys, files, strict=True)))
    pictures, passed_over = read_pictures(folder, names, exclude)
    notes += filter(None, [summary(passed_over)])
    places = {picture.path: f" ({picture.place})" for picture in pictures if picture.place}
    hashes, broken = cache.hashes([picture.path for picture in pictures])
    multi_label = all(file.multi_label for file in files)
    pictures, copies = distinct(pictures, hashes, multi_label=multi_label)
    if copies:
        are = "copy of another picture is" if len(copies) == 1 else "copies of other pictures are"
        notes.append(f"{len(copies):,} {are} left out, such as {copies[0].path}.")
    learned_from = {content for file in files if file.head for content in file.head.learned_from}
    kept = [picture for picture in pictures if hashes[picture.path] not in learned_from]
    if len(kept) < len(pictures):
        notes.append(f"{len(pictures) - len(kept):,} pictures are left out, since the classifier learned from them.")
    taught = {hashes[picture.path]: picture.path for picture in pictures if hashes[picture.path] in learned_from}
    contents = {hashes[picture.path]: picture.path for picture in kept}
    by_fit: dict[object, dict[str, Outcome]] = {}
    for file in files:
        if file.fit not in by_fit:
            by_fit[file.fit] = source.embed(file.fit, contents, cache)
    for outcomes in by_fit.values():
        broken |= {contents[content]: outcome for content, outcome in outcomes.items() if isinstance(outcome, str)}
    kept = [picture for picture in kept if picture.path not in broken]
    notes += _broken_notes({path: reason + places.get(path, "") for path, reason in broken.items()})
    small = cache.small_versions({hashes[picture.path]: picture.path for picture in kept} | taught, learned_from)
    known = [hashes[picture.path] for picture in kept]
    copies_of = near_copies([small.get(content) for content in [*known, *sorted(learned_from)]])
    left_out = np.isin(copies_of[: len(kept)], copies_of[len(kept) :])
    if left_out.any():
        notes.append(f"{left_out.sum():,} pictures are left out, since the classifier learned from near-copies of them.")
        kept = [picture for picture, out in zip(kept, left_out, strict=True) if not out]
    copies_of = copies_of[: len(left_out)][~left_out]
    notes += _copies_notes(kept, copies_of)
    if not kept:
        raise PicturesError("\n".join(["No picture is left to judge by.", *notes]))
    answers = []
    for key, each, file in zip(keys, judged, files, strict=True):
        embeddings = np.stack([np.asarray(by_fit[file.fit][hashes[picture.path]]) for picture in kept])
        answers.append(answer(prepared, key, each, file, names, source.manifest, embeddings))
    return Material(names, kept, [hashes[picture.path] for picture in kept], truth(kept, names), groups(kept, copies_of), answers, notes)


def answer(
    prepared: Registry,
    key: str,
    judged: Judged,
    file: ClassifierFile,
    names: Sequence[str],
    manifest: BundleManifest,
    embeddings: NDArray[np.float32],
) -> Answers:
    """What the prepared classifier `key` says of pictures, in the order of `names`."""
    found = score(prepared, key, manifest, embeddings)
    shares = found.probabilities[:, [found.names.index(name) for name in names]]
    counts = found.largest >= (-np.inf if file.min_similarity is None else file.min_similarity)
    return Answers(judged, file, embeddings, shares, np.where(counts[:, None], shares, 0.0))


def _prepare(source: Source, files: Mapping[str, ClassifierFile]) -> Registry:
    try:
        return source.prepare(files)
    except ClassifierError as err:
        # The number that tells the two apart is no part of a file's name.
        raise ClassifierError(re.sub(r"^classifiers/\d+: (.*?)\.json: ", r"\1: ", str(err))) from err


def _copies_notes(pictures: Sequence[Labelled], copies: NDArray[np.int64]) -> list[str]:
    """Which pictures are near-copies, unless the CSV file says to which group they belong."""
    found: dict[int, list[Labelled]] = {}
    for picture, number in zip(pictures, copies.tolist(), strict=True):
        if not picture.group:
            found.setdefault(number, []).append(picture)
    sets = [alike for alike in found.values() if len(alike) > 1]
    if not sets:
        return []
    number_of_groups = "1 group" if len(sets) == 1 else f"{len(sets):,} groups"
    notes = [
        f"{sum(map(len, sets)):,} pictures are near-copies (thumbnails, re-encodings, neighbouring frames): {number_of_groups}, each "
        "of which counts as one piece of evidence:"
    ]
    # Those under different labels first: one picture may lie in the wrong place.
    sets.sort(key=lambda alike: len({picture.labels for picture in alike}) == 1)
    for alike in sets[:LISTED]:
        first = alike[0]
        second = next((picture for picture in alike if picture.labels != first.labels), alike[1])
        more = f" and {len(alike) - 2:,} more" if len(alike) > 2 else ""
        notes.append(f"  {first.path}, {second.path}{more}" + (", under different labels" if second.labels != first.labels else ""))
    return [*notes, f"… and {len(sets) - LISTED:,} more."] if len(sets) > LISTED else notes


def _broken_notes(broken: Mapping[Path, str]) -> list[str]:
    if not broken:
        return []
    first = f"{len(broken):,} broken {'file is' if len(broken) == 1 else 'files are'} left out"
    more = [f"… and {len(broken) - LISTED:,} more."] if len(broken) > LISTED else []
    return [first + ":", *(f"  {path}: {reason}" for path, reason in islice(sorted(broken.items()), LISTED)), *more]
