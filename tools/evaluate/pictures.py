"""Labelled pictures: from a folder for each label, or from a CSV file."""

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from classifier.contract.errors import quoted
from tools.evaluate.csv_file import from_csv
from tools.evaluate.labelled import OTHER, Labelled, PicturesError, known_name
from tools.folders import EXCLUDED, Folder, count, no_picture, summary

OUTSIDE_FOLDERS = "in no label's folder"


def read_pictures(
    source: Path, names: Sequence[str], exclude: Sequence[str] = ()
) -> tuple[list[Labelled], Counter[str]]:
    """The pictures, by path, and how many files were passed over, by reason. `names`: what the
    classifier knows. Raises PicturesError.
    """
    # macOS writes é in a folder's name as two characters.
    known = {unicodedata.normalize("NFC", name): name for name in (*names, OTHER)}
    if source.is_dir():
        found, passed_over = _from_folders(source, known, exclude)
    elif source.is_file():
        found, passed_over = list(from_csv(source, known)), Counter()
    else:
        raise PicturesError(f"{source} is neither a folder nor a CSV file.")
    if not found:
        folders = ", ".join(map(quoted, [*list(names)[:3], OTHER]))
        flat = passed_over[OUTSIDE_FOLDERS]
        there = f"has {flat} images in no label's folder" if flat else "has no image"
        raise PicturesError(
            f"{source} {there}. Make a folder for each label in it ({folders}) and put the label's"
            " images there, or name a CSV file of path,label. " + summary(passed_over)
        )
    return sorted(found, key=lambda picture: picture.path), passed_over


def _from_folders(
    source: Path, known: Mapping[str, str], exclude: Sequence[str]
) -> tuple[list[Labelled], Counter[str]]:
    """Each label's folder is read by itself, so that a link may bring the same pictures under two
    labels.
    """
    found, passed_over, top = list[Labelled](), Counter[str](), Folder(source, exclude)
    for path in sorted(source.iterdir()):
        named = unicodedata.normalize("NFC", path.name) in known
        reason = top.reason(path)
        if reason == EXCLUDED or (reason and not named):
            passed_over[reason] += count(path)
        elif path.is_dir():
            folder = Folder(path, exclude, source)
            pictures = folder.pictures()
            passed_over += folder.passed_over
            if pictures:
                name = known_name(path.name, known, f"The folder {path} has the name")
                found += [Labelled(picture, frozenset([name]) - {OTHER}) for picture in pictures]
        elif named and not path.exists():
            raise PicturesError(f"The link {path} leads nowhere; mend or remove it.")
        else:
            passed_over[no_picture(path) or OUTSIDE_FOLDERS] += 1
    return found, passed_over


def distinct(
    pictures: Sequence[Labelled], hashes: Mapping[Path, str], *, multi_label: bool
) -> tuple[list[Labelled], list[Labelled]]:
    """Each content once, and the copies, which would count twice. `hashes`: the sha256 of each
    file's content; others are left out.

    With `multi_label`, copies under several labels show all of them. Raises PicturesError for
    copies that contradict each other.
    """
    first: dict[str, Labelled] = {}
    copies = []
    for picture in pictures:
        if (content := hashes.get(picture.path)) is None:
            continue
        other = first.setdefault(content, picture)
        if other is picture:
            continue
        copies.append(picture)
        if other.labels == picture.labels:
            continue
        if not multi_label or not other.labels or not picture.labels:
            one, two = (
                " and ".join(sorted(map(quoted, each.labels))) or OTHER for each in (other, picture)
            )
            raise PicturesError(
                f"{other.path} and {picture.path} are the same picture, under {one} and under"
                f" {two}; remove one of them."
            )
        first[content] = replace(other, labels=other.labels | picture.labels)
    return list(first.values()), copies


def truth(pictures: Sequence[Labelled], names: Sequence[str]) -> NDArray[np.bool_]:
    """Which of the names each picture shows: bool [N, L]."""
    return np.array(
        [[name in picture.labels for name in names] for picture in pictures], np.bool_
    ).reshape(-1, len(names))


def groups(pictures: Sequence[Labelled], copies: NDArray[np.int64]) -> NDArray[np.int64]:
    """A number for each picture [N], the same for those of one group.

    `copies` [N]: the same for near-copies, which are a group unless they have one. Those without a
    group join that of their copy.
    """
    given: dict[int, str] = {}
    for picture, copy in zip(pictures, copies.tolist(), strict=True):
        if picture.group:
            given.setdefault(copy, picture.group)
    numbers: dict[object, int] = {}
    keys = [
        picture.group or given.get(copy, copy)
        for picture, copy in zip(pictures, copies.tolist(), strict=True)
    ]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)
