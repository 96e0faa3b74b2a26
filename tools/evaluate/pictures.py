"""Labelled pictures: from a folder for each label, or from a CSV file."""

import codecs
import csv
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from classifier.contract.errors import quoted
from classifier.contract.request.unknown import unknown_name
from tools.folders import EXCLUDED, Folder, count, no_picture, summary

# The folder, or the label in a CSV file, of pictures that show none of the names.
OTHER = "_other"
OUTSIDE_FOLDERS = "in no label's folder"
# The columns of a CSV file by position, and the names that a header may give them.
COLUMNS = {
    "path": {"path", "file", "filename", "filepath", "image", "imagepath"},
    "label": {"label", "labels", "class"},
    "group": {"group"},
}
SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev"}
NO_SPLIT = (
    "Remove the column, or name it group if pictures with the same value belong together, such as "
    "frames of one video. To judge one part of the pictures, keep only its lines."
)
HEADER = "A header names its columns path, label and, if you like, group."
SEPARATORS = (
    'save it as CSV in UTF-8 with commas (in Excel: "CSV UTF-8"); semicolons separate labels'
)


class PicturesError(Exception):
    """Labelled pictures that can't be used; the message says what to do."""


@dataclass(frozen=True)
class Labelled:
    """A picture and the names that it shows: none where it shows something else. Pictures of one
    `group` belong together, such as frames of one video; without one, near-copies do. `place`: the
    line of a CSV file that names it.
    """

    path: Path
    labels: frozenset[str]
    group: str | None = None
    place: str = ""


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
        found, passed_over = list(_from_csv(source, known)), Counter()
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
                name = _known(path.name, known, f"The folder {path} has the name")
                found += [Labelled(picture, frozenset([name]) - {OTHER}) for picture in pictures]
        elif named and not path.exists():
            raise PicturesError(f"The link {path} leads nowhere; mend or remove it.")
        else:
            passed_over[no_picture(path) or OUTSIDE_FOLDERS] += 1
    return found, passed_over


def _from_csv(source: Path, known: Mapping[str, str]) -> Iterator[Labelled]:
    rows = _rows(source)
    header = _columns(rows[0][1], known, f"{source}, line {rows[0][0]}") if rows else None
    columns = header or dict(zip(COLUMNS, range(3), strict=True))
    if not header and {cells[2].lower() for _, cells in rows if len(cells) > 2} - {""} <= SPLITS:
        third = [place for place, cells in rows if len(cells) > 2 and cells[2]]
        if third:
            raise PicturesError(
                f"{source}, line {third[0]} has a split in the third column. {NO_SPLIT}"
            )
    for number, cells in rows[1:] if header else rows:
        place = f"{source}, line {number}"
        if (
            not max(columns["path"], columns["label"]) < len(cells) <= max(3, len(columns))
            or not cells[columns["path"]]
        ):
            hint = f"; {SEPARATORS}" if len(cells) == 1 and re.search("[;\t]", cells[0]) else ""
            raise PicturesError(
                f"{place} must be path,label or path,label,group: {quoted(','.join(cells))}{hint}."
            )
        labels = [label.strip() for label in cells[columns["label"]].split(";")]
        hint = "" if header or number > 1 else f" If this line is meant as a header: {HEADER}"
        names = frozenset(
            _known(label, known, f"{place} has the label", hint) for label in labels if label
        ) or {OTHER}
        if OTHER in names and len(names) > 1:
            raise PicturesError(
                f"{place} has {OTHER}, none of the labels, beside a label; remove one of them."
            )
        group = columns.get("group", len(cells))
        path = source.parent / cells[columns["path"]]
        if "\\" in cells[columns["path"]] and not path.exists():
            path = source.parent / cells[columns["path"]].replace("\\", "/")
        yield Labelled(
            path,
            frozenset(names) - {OTHER},
            cells[group] or None if group < len(cells) else None,
            place,
        )


def _rows(source: Path) -> list[tuple[int, list[str]]]:
    """The lines that aren't empty, by their number, without spaces around their cells. Raises
    PicturesError.
    """
    try:
        data = source.read_bytes()
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise PicturesError(f"{source} is in UTF-16; {SEPARATORS}.")
        reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        lines = [(reader.line_num, [cell.strip() for cell in line]) for line in reader]
    except UnicodeDecodeError as err:
        number = data[: err.start].count(b"\n") + 1
        raise PicturesError(f"{source}, line {number} isn't in UTF-8; {SEPARATORS}.") from err
    except (OSError, csv.Error) as err:
        raise PicturesError(f"{source} can't be read as CSV in UTF-8 ({err}).") from err
    for _, cells in lines:
        # Excel writes the empty cells behind the last column, too.
        while len(cells) > len(COLUMNS) and not cells[-1]:
            cells.pop()
    return [(number, cells) for number, cells in lines if any(cells)]


def _columns(cells: Sequence[str], known: Mapping[str, str], place: str) -> dict[str, int] | None:
    """Where a header has its columns; None if the first line is none. Raises PicturesError for a
    header that isn't clear.
    """
    cells = [cell for i, cell in enumerate(cells) if any(cells[i:])]
    names = [re.sub(r"[\s_-]", "", cell.lower()) for cell in cells]
    kinds = [
        next((kind for kind, words in COLUMNS.items() if name in words), None) for name in names
    ]
    if not any(
        kind == "path" or (kind and cell not in known)
        for kind, cell in zip(kinds, cells, strict=True)
    ):
        return None
    for cell, kind in zip(cells, kinds, strict=True):
        if kind is None or kinds.count(kind) > 1:
            wrong = "is there twice" if kind else "means nothing here"
            raise PicturesError(
                f"{place}, the header: the column {quoted(cell)} {wrong}. {NO_SPLIT} {HEADER}"
            )
    if missing := {"path", "label"} - set(kinds):
        raise PicturesError(
            f"{place}, the header, has no column {' and no '.join(sorted(missing))}. {HEADER}"
        )
    return {str(kind): number for number, kind in enumerate(kinds)}


def _known(text: str, known: Mapping[str, str], subject: str, hint: str = "") -> str:
    found = known.get(unicodedata.normalize("NFC", text))
    if found is None:
        raise PicturesError(
            f"{subject} {unknown_name(text, list(known.values()), 'label')} Pictures of none go to"
            f" {OTHER}.{hint}"
        )
    return found


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
