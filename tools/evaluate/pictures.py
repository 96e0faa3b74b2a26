"""Labelled pictures: from a folder for each label, or from a CSV file."""

import csv
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from classifier.contract.errors import quoted
from classifier.contract.validation import unknown_name
from classifier.storage.batches import Item, skip_reason

# The folder, or the label in a CSV file, of pictures that show none of the names.
OTHER = "_other"
HEADER = ("path", "label", "group")


class PicturesError(Exception):
    """Labelled pictures that can't be used; the message says what to do."""


@dataclass(frozen=True)
class Labelled:
    """A picture and the names that it shows: none where it shows something else. Pictures of one `group` belong together, such as
    frames of one video; without one, a picture stands for itself."""

    path: Path
    labels: frozenset[str]
    group: str | None = None


def read_pictures(source: Path, names: Sequence[str]) -> tuple[list[Labelled], Counter[str]]:
    """The pictures, by path, and how many files were passed over, by reason. `names`: what the classifier knows. Raises PicturesError."""
    # macOS writes é in a folder's name as two characters.
    known = {unicodedata.normalize("NFC", name): name for name in (*names, OTHER)}
    if source.is_dir():
        found, passed_over = _from_folders(source, known)
    elif source.is_file():
        found, passed_over = list(_from_csv(source, known)), Counter()
    else:
        raise PicturesError(f"{source} is neither a folder nor a CSV file.")
    if not found:
        folders = ", ".join(map(quoted, [*list(names)[:3], OTHER]))
        raise PicturesError(
            f"There is no picture in {source}. Make a folder for each label in it ({folders}), or name a CSV file of path,label."
        )
    return sorted(found, key=lambda picture: picture.path), passed_over


def _from_folders(source: Path, known: Mapping[str, str]) -> tuple[list[Labelled], Counter[str]]:
    found, passed_over = list[Labelled](), Counter[str]()
    for path in source.rglob("*"):
        folder, *rest = path.relative_to(source).parts
        if not path.is_file() or any(part.startswith(".") for part in (folder, *rest)):
            continue
        if reason := skip_reason(Item(path.name)):
            passed_over[reason] += 1
        elif not rest:
            passed_over["beside the labels' folders"] += 1
        else:
            name = _known(folder, known, f"The folder {source / folder} has the name")
            found.append(Labelled(path, frozenset([name]) - {OTHER}))
    return found, passed_over


def _from_csv(source: Path, known: Mapping[str, str]) -> Iterator[Labelled]:
    try:
        with source.open(encoding="utf-8-sig", newline="") as file:
            lines = list(csv.reader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise PicturesError(f"{source} can't be read as CSV in UTF-8 ({err}).") from err
    for number, line in enumerate(lines, 1):
        cells = [cell.strip() for cell in line]
        if not any(cells) or (number == 1 and cells[0].lower() == HEADER[0]):
            continue
        place = f"{source}, line {number}"
        if not 2 <= len(cells) <= len(HEADER) or not cells[0]:
            raise PicturesError(f"{place} must be path,label or path,label,group: {quoted(','.join(line))}.")
        labels = [label.strip() for label in cells[1].split(";")]
        names = frozenset(_known(label, known, f"{place} has the label") for label in labels if label) or {OTHER}
        if OTHER in names and len(names) > 1:
            raise PicturesError(f"{place} has {OTHER}, none of the labels, beside a label; remove one of them.")
        yield Labelled(source.parent / cells[0], frozenset(names) - {OTHER}, (cells[2] if len(cells) > 2 else "") or None)


def _known(text: str, known: Mapping[str, str], subject: str) -> str:
    found = known.get(unicodedata.normalize("NFC", text))
    if found is None:
        raise PicturesError(f"{subject} {unknown_name(text, list(known.values()), 'label')} Pictures of none go to {OTHER}.")
    return found


def distinct(
    pictures: Sequence[Labelled], hashes: Mapping[Path, str], *, multi_label: bool
) -> tuple[list[Labelled], list[Labelled]]:
    """Each content once, and the copies, which would count twice. `hashes`: the sha256 of each file's content; others are left out.

    With `multi_label`, copies under several labels show all of them. Raises PicturesError for copies that contradict each other.
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
            one, two = (" and ".join(sorted(map(quoted, each.labels))) or OTHER for each in (other, picture))
            raise PicturesError(
                f"{other.path} and {picture.path} are the same picture, under {one} and under {two}; remove one of them."
            )
        first[content] = replace(other, labels=other.labels | picture.labels)
    return list(first.values()), copies


def truth(pictures: Sequence[Labelled], names: Sequence[str]) -> NDArray[np.bool_]:
    """Which of the names each picture shows: bool [N, L]."""
    return np.array([[name in picture.labels for name in names] for picture in pictures], np.bool_).reshape(-1, len(names))


def groups(pictures: Sequence[Labelled]) -> NDArray[np.int64]:
    """A number for each picture [N], the same for those of one group."""
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(picture.group or picture.path, len(numbers)) for picture in pictures], np.int64)
