"""Prints which of open_clip's weights there are, and what is known of them: `make models`.

It needs the standard library alone. models.json comes from open_clip and from the models' shapes,
model_facts.json from what their authors and open_clip's publish, each with its source.
"""

import argparse
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("models.json")
FACTS = Path(__file__).with_name("model_facts.json")
DEFAULT = ("ViT-B-32-quickgelu", "openai")
UNKNOWN = "?"


@dataclass(frozen=True)
class Row:
    """A model and a tag; None stands for what nobody has looked up.

    `way` is that of the export, or why it is refused. `imagenet`, `average` of 38 sets and
    `recall` over 36 languages are percentages. `image` and `label` are the work of an image and of
    a new label as multiples of the default's. `languages` are ISO codes, `business` says whether
    the licence lets a business use the weights.
    """

    model: str
    tag: str
    way: str
    imagenet: float | None
    average: float | None
    recall: float | None
    image: float | None
    label: float | None
    megabytes: int | None
    languages: list[str] | None
    licence: str | None
    business: bool | None


def languages_of(repository: str) -> list[str] | None:
    """Of labels, by what the authors of these weights publish."""
    facts = read(FACTS)
    found: list[str] | None = facts["languages"].get(
        facts["weights"].get(repository, {}).get("languages")
    )
    return found


def read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def rows() -> list[Row]:
    """The best on ImageNet first."""
    table, facts = read(TABLE), read(FACTS)
    default = table["costs"][DEFAULT[0]]
    found = []
    for model, tags in table["pairs"].items():
        costs = table["costs"].get(model, {})
        for tag, way in tags.items():
            measured = facts["accuracy"].get(model, {}).get(tag, {})
            repository = table["pretrained"].get(model, {}).get(tag, {}).get("repository")
            weights: dict[str, Any] = facts["weights"].get(repository, {})
            found.append(
                Row(
                    model,
                    tag,
                    way,
                    measured.get("imagenet"),
                    measured.get("average"),
                    measured.get("recall"),
                    image=costs["image"] / default["image"] if costs else None,
                    label=costs["label"] / default["label"] if costs else None,
                    megabytes=costs.get("megabytes"),
                    languages=facts["languages"].get(weights.get("languages")),
                    licence=weights.get("licence"),
                    business=facts["business"].get(weights.get("licence")),
                )
            )
    return sorted(found, key=lambda row: -(row.imagenet or 0))


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
        *(number(figure, 1) for figure in (row.imagenet, row.average, row.recall)),
        *(number(figure, 2) for figure in (row.image, row.label)),
        number(row.megabytes, 0),
        languages or UNKNOWN,
        {True: "yes", False: "no", None: UNKNOWN}[row.business],
        row.licence or UNKNOWN,
        row.way,
    ]


HEAD = [
    *("MODEL", "PRETRAINED", "ImageNet", "38 sets", "recall", "image", "label", "MB"),
    *("languages", "business", "licence", "export"),
]
LEGEND = f"""
ImageNet, 38 sets: zero-shot accuracy in %; recall: that in 36 languages (Crossmodal-3600), in %.
image, label: the work of an image and of a new label in multiples of {" ".join(DEFAULT)}'s, \
computed from shapes.
MB: fp32 weights. business: whether the licence allows it. {UNKNOWN}: not looked up.
Sources and dates: {FACTS.name}"""


def number(figure: float | None, digits: int) -> str:
    # Half of a digit is rounded up, however its nearest binary number lies.
    return UNKNOWN if figure is None else f"{figure + 1e-9:.{digits}f}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Which weights of open_clip there are.")
    parser.add_argument("name", nargs="*", help="part of a model's name, a tag or a reason")
    parser.add_argument("--language", default="", help="a language of the labels, such as de")
    parser.add_argument("--business", default="", choices=["", "yes", "no"])
    parser.add_argument("--max-times", type=float, help="the work of an image; the default's is 1")
    return parser.parse_args()


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
    lines = [HEAD, *map(cells, found)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print(
            "  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        )
    ways = Counter(row.way.partition(":")[0] for row in found)
    counts = ", ".join(f"{count} {way}" for way, count in ways.most_common())
    print(LEGEND)
    print(f"{len({row.model for row in found})} models, {len(found)} with their tags: {counts}")


if __name__ == "__main__":
    main()
