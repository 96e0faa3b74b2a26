"""Which model to take, as docs/models.md says it: from the table that `make models` prints."""

from collections.abc import Callable
from dataclasses import replace
from math import inf
from operator import le

from export.table.models import figure, number
from export.table.rows import DEFAULT, Row, rows

SHOWN = 12


def figures(row: Row) -> tuple[float, float, float]:
    """Less is better; what isn't known is worst. Times are as near as they can be measured."""
    return _near(row.image), _near(row.label), -(row.imagenet or 0)


def _near(times: float | None) -> float:
    return inf if times is None else round(times, 1 if times < 10 else 0)


def best(every: list[Row]) -> list[Row]:
    """Those that a business may use and of which no other is as right for as little time, of an
    image and of labels. The cheapest first.
    """
    front: list[Row] = []
    for row in sorted((row for row in every if row.business), key=figures):
        if not any(all(map(le, figures(other), figures(row))) for other in front):
            front.append(row)
    return front


def cheapest(
    every: list[Row], least: float, by: Callable[[Row], tuple[float, float, float]] = figures
) -> Row:
    """Of an image, with at least this accuracy; the most accurate of those that cost the same."""
    right = [row for row in every if (row.imagenet or 0) >= least]
    return min(right, key=lambda row: (by(row)[0], by(row)[2], by(row)[1]))


def in_fp32(row: Row) -> tuple[float, float, float]:
    return figures(replace(row, image=row.image_fp32, label=row.label_fp32))


def _image(row: Row) -> float:
    return figures(row)[0]


def _recall(row: Row) -> float:
    return row.recall or 0


def default_of(every: list[Row]) -> Row:
    return next(row for row in every if (row.model, row.tag) == DEFAULT)


def model_choice() -> str:
    """Three sentences and a table."""
    every = rows()
    default = default_of(every)
    business = [row for row in every if row.business]
    least = default.imagenet or 0
    same_price = next(row for row in business if figures(row)[0] <= 1)
    cheap = cheapest(every, least)
    cheap_fp32 = cheapest(every, least, in_fp32)
    several = [row for row in business if len(row.languages or []) > 1]
    languages = cheapest(several, least)
    found = max((row for row in several if le(*map(_image, (row, languages)))), key=_recall)
    choice = [row for row in best(every) if (row.imagenet or 0) >= least]
    lines = [
        f"- **Best at the default's price**: {_name(same_price)},"
        f" {number(same_price.imagenet, 1)} % where the default has {number(least, 1)} %.",
        f"- **Cheapest no worse than the default**: {_name(cheap)}, {number(cheap.imagenet, 1)} %"
        f" for {figure(cheap, 'image', 1)} of an image's time. In fp32, {_name(cheap_fp32)}:"
        f" {number(cheap_fp32.imagenet, 1)} % for {figure(cheap_fp32, 'image_fp32', 2)} of the"
        f" default's time in fp32, but in 8 bits {figure(cheap_fp32, 'image', 1)} times; its"
        f" licence is {cheap_fp32.licence}.",
        f"- **For many languages**: {_name(languages)}, the cheapest no worse than the default,"
        f" {number(languages.imagenet, 1)} % for {figure(languages, 'image', 1)} times an image's"
        f" time and {figure(languages, 'label', 0)} times that of new labels. {_name(found)} has"
        f" {number(found.imagenet, 1)} %, but finds the right image for {number(found.recall, 1)} %"
        f" of captions in 36 languages instead of {number(languages.recall, 1)} %, for"
        f" {figure(found, 'image', 1)} and {figure(found, 'label', 1)} times.",
        "",
        "| `MODEL=` | `PRETRAINED=` | ImageNet | Image | in fp32 | New labels | $ a million"
        " | 8 bits | fp32 | Languages | Licence |",
        f"|{'---|' * 11}",
        *(_line(row) for row in [default, *choice[:SHOWN]]),
    ]
    return "\n".join(lines)


def _name(row: Row) -> str:
    return f"`{row.model}` `{row.tag}`"


def _line(row: Row) -> str:
    tag = f"`{row.tag}`{' (the default)' if (row.model, row.tag) == DEFAULT else ''}"
    languages = "not stated" if row.languages is None else f"{len(row.languages)}"
    return (
        f"| `{row.model}` | {tag} | {number(row.imagenet, 1)} % | {figure(row, 'image', 1)} |"
        f" {figure(row, 'image_fp32', 1)} | {figure(row, 'label', 1)} |"
        f" {figure(row, 'dollars', 0)} | {figure(row, 'megabytes_int8', 0)} MB |"
        f" {figure(row, 'megabytes', 0)} MB |"
        f" {'English' if row.languages == ['en'] else languages} | {row.licence} |"
    )
