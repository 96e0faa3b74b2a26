"""Which model to take, as docs/models.md says it: from the table that `make models` prints."""

from math import inf
from operator import le

from export.table.models import DEFAULT, Row, number, rows

SHOWN = 12


def figures(row: Row) -> tuple[float, float, float]:
    """Less is better; what isn't known is worst."""
    return row.image or inf, row.label or inf, -(row.imagenet or 0)


def best(every: list[Row]) -> list[Row]:
    """Those that a business may use and of which no other is as right for as little work, of an
    image and of a label. The cheapest first.
    """
    front: list[Row] = []
    for row in sorted((row for row in every if row.business), key=figures):
        if not any(all(map(le, figures(other), figures(row))) for other in front):
            front.append(row)
    return front


def cheapest(every: list[Row], least: float) -> Row:
    """Of an image, with at least this accuracy."""
    return min((row for row in every if (row.imagenet or 0) >= least), key=figures)


def model_choice() -> str:
    """Three sentences and a table."""
    every = rows()
    default = next(row for row in every if (row.model, row.tag) == DEFAULT)
    business = [row for row in every if row.business]
    least = default.imagenet or 0
    same_price = next(row for row in business if row.image is not None and row.image <= 1)
    cheap = cheapest(every, least)
    languages = cheapest([row for row in business if len(row.languages or []) > 1], least)
    lines = [
        f"- **Best at the default's price**: {_name(same_price)},"
        f" {number(same_price.imagenet, 1)} % where the default has {number(least, 1)} %.",
        f"- **Cheapest no worse than the default**: {_name(cheap)}, {number(cheap.imagenet, 1)} %"
        f" for {number(cheap.image, 2)} of an image's work; its licence is {cheap.licence}."
        f" For a business: {_name(cheapest(business, least))}.",
        f"- **For many languages**: {_name(languages)}, the cheapest no worse than the default,"
        f" {number(languages.imagenet, 1)} % for {number(languages.image, 1)} times an image's"
        f" work and {number(languages.label, 0)} times a new label's.",
        "",
        "| `MODEL=` | `PRETRAINED=` | ImageNet | Image | New label | Weights | Languages"
        " | Licence |",
        f"|{'---|' * 8}",
        *(_line(row) for row in [default, *best(every)[:SHOWN]]),
    ]
    return "\n".join(lines)


def _name(row: Row) -> str:
    return f"`{row.model}` `{row.tag}`"


def _line(row: Row) -> str:
    tag = f"`{row.tag}`{' (the default)' if (row.model, row.tag) == DEFAULT else ''}"
    languages = "not stated" if row.languages is None else f"{len(row.languages)}"
    return (
        f"| `{row.model}` | {tag} | {number(row.imagenet, 1)} % | {number(row.image, 1)} |"
        f" {number(row.label, 1)} | {row.megabytes:,} MB |"
        f" {'English' if row.languages == ['en'] else languages} | {row.licence} |"
    )
