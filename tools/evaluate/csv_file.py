"""Labelled images from a CSV file."""

import codecs
import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from classifier.contract.errors import quoted
from tools.evaluate.labelled import OTHER, ImagesError, Labelled, known_name

# The columns of a CSV file by position, and the names that a header may give them.
COLUMNS = {
    "path": {"path", "file", "filename", "filepath", "image", "imagepath"},
    "label": {"label", "labels", "class"},
    "group": {"group"},
}
SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev"}
NO_SPLIT = (
    "Remove the column, or name it group if images with the same value belong together, such as"
    " frames of one video. To judge one part of the images, keep only its lines."
)
HEADER = "A header names its columns path, label and, if you like, group."
SEPARATORS = (
    "save it as CSV in UTF-8 with commas; semicolons separate labels (Excel writes them between "
    "columns in some languages: replace those)"
)


def from_csv(source: Path, known: Mapping[str, str]) -> Iterator[Labelled]:
    rows = _rows(source)
    header = _columns(rows[0][1], known, f"{source}, line {rows[0][0]}") if rows else None
    columns = header or dict(zip(COLUMNS, range(3), strict=True))
    if not header and {cells[2].lower() for _, cells in rows if len(cells) > 2} - {""} <= SPLITS:
        third = [place for place, cells in rows if len(cells) > 2 and cells[2]]
        if third:
            raise ImagesError(
                f"{source}, line {third[0]} has a split in the third column. {NO_SPLIT}"
            )
    for number, cells in rows[1:] if header else rows:
        place = f"{source}, line {number}"
        if (
            not max(columns["path"], columns["label"]) < len(cells) <= max(3, len(columns))
            or not cells[columns["path"]]
        ):
            hint = f"; {SEPARATORS}" if len(cells) == 1 and re.search("[;\t]", cells[0]) else ""
            raise ImagesError(
                f"{place} must be path,label or path,label,group: {quoted(','.join(cells))}{hint}."
            )
        labels = [label.strip() for label in cells[columns["label"]].split(";")]
        hint = "" if header or number > 1 else f" If this line is meant as a header: {HEADER}"
        names = frozenset(
            known_name(label, known, f"{place} has the label", hint) for label in labels if label
        ) or {OTHER}
        if OTHER in names and len(names) > 1:
            raise ImagesError(
                f"{place} has {OTHER}, none of the labels, together with a label; remove one of"
                " them."
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
    ImagesError.
    """
    try:
        data = source.read_bytes()
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise ImagesError(f"{source} is in UTF-16; {SEPARATORS}.")
        if b"\0" in data:
            number = data[: data.index(b"\0")].count(b"\n") + 1
            raise ImagesError(f"{source}, line {number} holds a zero byte; {SEPARATORS}.")
        reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        lines = [(reader.line_num, [cell.strip() for cell in line]) for line in reader]
    except UnicodeDecodeError as err:
        number = data[: err.start].count(b"\n") + 1
        raise ImagesError(f"{source}, line {number} isn't in UTF-8; {SEPARATORS}.") from err
    except (OSError, csv.Error) as err:
        raise ImagesError(f"{source} can't be read as CSV in UTF-8 ({err}).") from err
    for _, cells in lines:
        # Excel writes the empty cells behind the last column, too.
        while len(cells) > len(COLUMNS) and not cells[-1]:
            cells.pop()
    return [(number, cells) for number, cells in lines if any(cells)]


def _columns(cells: Sequence[str], known: Mapping[str, str], place: str) -> dict[str, int] | None:
    """The positions of the header's columns; None if the first line is no header. Raises
    ImagesError for a header that isn't clear.
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
            raise ImagesError(
                f"{place}, the header: the column {quoted(cell)} {wrong}. {NO_SPLIT} {HEADER}"
            )
    if missing := {"path", "label"} - set(kinds):
        raise ImagesError(
            f"{place}, the header, has no column {' and no '.join(sorted(missing))}. {HEADER}"
        )
    return {str(kind): number for number, kind in enumerate(kinds)}
