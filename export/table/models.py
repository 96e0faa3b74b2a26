"""Prints which of open_clip's weights there are, and what is known of them: `make models`.

It needs the standard library alone.
"""

import argparse
import csv
import json
import sys
from collections import Counter
from dataclasses import asdict, fields

from export.table.rows import DEFAULT, FACTS, MEASURED, RECALL_SOURCE, Row, read, rows

UNKNOWN = "?"
# The columns: what a Row has, its heading, and the digits of a figure.
FIGURES = {
    "imagenet": ("ImageNet", 1),
    "average": ("38 sets", 1),
    "recall": ("recall", 1),
    "image": ("image", 2),
    "image_fp32": ("in fp32", 2),
    "label": ("label", 2),
    "dollars": ("$/M", 1),
    "megabytes": ("MB", 0),
    "megabytes_int8": ("8 bits", 0),
    "start": ("start", 2),
    "memory": ("memory", 0),
}
HEAD = [
    *("MODEL", "PRETRAINED", *(heading for heading, _ in FIGURES.values())),
    *("languages", "business", "licence", "export"),
]


def chosen(
    rows: list[Row], part: str, language: str, business: str, max_times: float | None
) -> list[Row]:
    """Those that have `part` in their name, tag or way, and fit what else is asked for. What isn't
    known doesn't fit.
    """
    return [
        row
        for row in rows
        if part.lower() in f"{row.model} {row.tag} {row.way}".lower()
        and (not language or language in (row.languages or []))
        and (not business or row.business is (business == "yes"))
        and (max_times is None or (row.image is not None and row.image <= max_times))
    ]


def cells(row: Row) -> list[str]:
    languages = row.languages and (
        " ".join(row.languages) if len(row.languages) < 3 else str(len(row.languages))
    )
    return [
        row.model,
        row.tag,
        *(figure(row, name, digits) for name, (_, digits) in FIGURES.items()),
        languages or UNKNOWN,
        {True: "yes", False: "no", None: UNKNOWN}[row.business],
        row.licence or UNKNOWN,
        row.way,
    ]


def figure(row: Row, name: str, digits: int) -> str:
    """One of a row's, with a mark if it is computed or measured in another way than the others."""
    others = name == "recall" and row.recall_source not in (None, RECALL_SOURCE)
    value = number(getattr(row, name), digits)
    return f"{'~' if name in row.computed else ''}{value}{'*' if others else ''}"


def number(figure: float | None, digits: int) -> str:
    # Half of a digit is rounded up, however its nearest binary number lies.
    return UNKNOWN if figure is None else f"{figure + 1e-9:,.{digits}f}"


def legend() -> str:
    machines = {row["machine"] for some in read(MEASURED).values() for row in some.values()}
    default = " ".join(DEFAULT)
    return "\n".join(
        (
            "",
            "ImageNet, 38 sets: zero-shot accuracy in %. recall: how often a caption finds its"
            " image first, the mean of 36 languages (Crossmodal-3600), in %;",
            "*: by its authors, whose way gives more: 22.4 for ViT-B-16-SigLIP, not 16.7.",
            "image, label: the time of an image and of nine new labels, as multiples of"
            f" {default}'s, all in 8 bits; in fp32: an image's, both in fp32.",
            "$/M: dollars of a million images, one a call, at a guess of 100 ms for the default."
            " MB: the weights in fp32.",
            "8 bits, start, memory: the encoders' MB, and seconds and MB of loading them. ~: not"
            " measured but computed from shapes.",
            f"business: whether the licence allows it. {UNKNOWN}: not looked up. FORMAT=csv and"
            " FORMAT=json have more columns.",
            f"Measured on {'; '.join(sorted(machines))}, one thread. Sources: {FACTS.name}",
        )
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Which weights of open_clip there are.")
    parser.add_argument("name", nargs="*", help="part of a model's name, a tag or a reason")
    parser.add_argument("--language", default="", help="a language of the labels, such as de")
    parser.add_argument("--business", default="", choices=["", "yes", "no"])
    parser.add_argument("--max-times", type=float, help="the time of an image; the default's is 1")
    parser.add_argument("--format", default="table", choices=["table", "csv", "json"])
    return parser.parse_args()


def print_table(found: list[Row]) -> None:
    lines = [HEAD, *map(cells, found)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print(
            "  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        )
    ways = Counter(row.way.partition(":")[0] for row in found)
    counts = ", ".join(f"{count} {way}" for way, count in ways.most_common())
    print(legend())
    print(f"{len({row.model for row in found})} models, {len(found)} with their tags: {counts}")


def print_csv(found: list[Row]) -> None:
    """Lists have a blank between their parts; what isn't known is empty."""
    writer = csv.DictWriter(sys.stdout, [field.name for field in fields(Row)], lineterminator="\n")
    writer.writeheader()
    for row in found:
        writer.writerow(
            {
                name: " ".join(value) if isinstance(value, list) else rounded(value)
                for name, value in asdict(row).items()
            }
        )


def print_json(found: list[Row]) -> None:
    print(
        json.dumps(
            [{name: rounded(value) for name, value in asdict(row).items()} for row in found],
            indent=1,
        )
    )


def rounded(value: object) -> object:
    return round(value, 3) if isinstance(value, float) else value


def main() -> None:
    asked = arguments()
    part = " ".join(asked.name)
    every = rows()
    known = sorted({code for row in every for code in row.languages or []})
    if asked.language and asked.language not in known:
        raise SystemExit(
            f"error: nothing is known of the language {asked.language!r}; there are"
            f" {', '.join(known)}."
        )
    filters = (asked.language, asked.business, asked.max_times)
    found = chosen(every, part, *filters)
    if not found:
        raise SystemExit(
            f"error: no model, tag or reason has {part!r}"
            f"{' and fits what else is asked' if any(filters) else ''}; `make models` shows all."
        )
    {"table": print_table, "csv": print_csv, "json": print_json}[asked.format](found)


if __name__ == "__main__":
    main()
