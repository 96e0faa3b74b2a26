"""The rows of examples/classify.py as a table, CSV or JSON."""

import csv
import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    file: str
    result: dict[str, float]
    error: str = ""

    @property
    def printable(self) -> str:
        r"""A file's name needn't be UTF-8, but text must be: other bytes become such as \xfc."""
        return os.fsencode(self.file).decode(errors="backslashreplace")


def print_table(rows: Iterable[Row], files: Sequence[Path], labels: Sequence[str]) -> None:
    file_width = max(len(str(file)) for file in files)
    label_width = max(map(len, labels))
    for row in rows:
        ranked = sorted(row.result.items(), key=lambda pair: -pair[1])
        shares = "   ".join(
            f"{label:<{label_width}} {percent(share, ranked[0][1]):>7}" for label, share in ranked
        )
        print(f"{row.printable:<{file_width}}  {f'error: {row.error}' if row.error else shares}")


def percent(share: float, best: float) -> str:
    """With two decimals, or two digits beside a best one of less than 1 %: a model trained with
    SigLIP's loss judges labels alone, and may give a right one 0.003 %.
    """
    return f"{share:.2%}" if best >= 0.01 else f"{100 * share:.2g}%"


def print_csv(rows: Iterable[Row], files: Sequence[Path], labels: Sequence[str]) -> None:
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["file", *labels, "error"])
    out.writerows(
        [row.printable, *(row.result.get(label, "") for label in labels), row.error] for row in rows
    )


def print_json(rows: Iterable[Row], files: Sequence[Path], labels: Sequence[str]) -> None:
    """A list with one object a line, valid JSON even if the run ends early. Its escapes of a
    file's name lead back to the file.
    """
    separator = "["
    try:
        for row in rows:
            outcome: dict[str, object] = (
                {"error": row.error} if row.error else {"result": row.result}
            )
            print(separator, json.dumps({"file": row.file} | outcome), sep="", end="")
            separator = ",\n "
    finally:
        print("]" if separator != "[" else "[]")


OUTPUTS = {"table": print_table, "csv": print_csv, "json": print_json}
