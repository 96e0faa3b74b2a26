"""A judgement as text: for the terminal, and the sentences that the report shows too."""

from collections.abc import Sequence

import numpy as np

from classifier.contract.strict_json import JsonObject
from tools.evaluate.judging.guarantees import ERROR
from tools.evaluate.judging.intervals import Triple
from tools.evaluate.judging.judgement import Judgement

ACCURACY = (
    "All images: the answer is the most likely label of those that reach their thresholds, else "
    "“none of these”, which is right for an image of none. The others: the most likely label, "
    "whatever its threshold."
)
GUARANTEED = (
    "These thresholds keep their guarantee on other images of the same kind, in the same mix: in "
    f"{100 * (1 - ERROR):g} of 100 folders like this one, all of them do."
)
ESTIMATED = (
    "These thresholds are estimates: they were the best on these images, and guarantee nothing for "
    "others."
)
ADVICE = (
    "Fewer guarantees in a run need fewer images: --for NAME makes thresholds for that label alone."
)
GROUPED = "A group counts as one image in these numbers."
HEADS = ["precision", "recall", "false alarms", "F1", "average precision"]
KEYS = ["precision", "recall", "false_alarms", "f1", "average_precision"]


def text_of(judgement: Judgement) -> str:
    names = judgement.names
    parts = ["\n".join([*subject(judgement), *judgement.dataset.notes])]
    parts.append(f"{mix(judgement)} In brackets, 95 % intervals; in %.")
    if judgement.overall:
        rows = [[title, *map(percent, values)] for title, values in judgement.overall]
        parts += [table(["", *names], rows), ACCURACY]
    for name, each in zip(names, judgement.rows, strict=True):
        parts.append((f"{name}:\n" if len(names) > 1 else "") + _label_table(each))
    if judgement.differences:
        rows = [[title, percent(triple)] for title, triple in judgement.differences]
        parts.append(table([" minus ".join(names), ""], rows))
    return "\n\n".join([*parts, *about_thresholds(judgement)])


def subject(judgement: Judgement) -> list[str]:
    """The first lines: which images and classifiers were judged."""
    dataset = judgement.dataset
    count = len(dataset.images)
    others = int((~dataset.truth.any(axis=1)).sum())
    groups = len(np.unique(dataset.groups))
    text = f"{count:,} images: {count - others:,} show one of the {len(dataset.names):,} labels or"
    text += f" more, {others:,} show none"
    text += f". {groups:,} groups count once each" if groups < count else ""
    models = [f", on {model.name} ({model.fingerprint[:12]})" for model in judgement.models]
    if len(set(models)) == 1:
        compared = f"{' compared with '.join(judgement.names)}{models[0]}"
    else:
        compared = " compared with ".join(map("".join, zip(judgement.names, models, strict=True)))
    return [compared, f"{text}."]


def mix(judgement: Judgement) -> str:
    given = [
        f"of {name} as if {100 * share:g} % of all images showed it"
        for name, share in judgement.goals.prevalence.items()
    ]
    text = f"Precision {'; '.join(given)}; of the others in" if given else "In"
    return f"{text} a mix like this folder's. Recall and false alarms don't depend on the mix."


def about_thresholds(judgement: Judgement) -> list[str]:
    """How far the first classifier's thresholds can be trusted, and why some are missing."""
    choices = judgement.choices[0]
    missing = judgement.missing
    if not judgement.goals.guarantees:
        return [ESTIMATED] if any("estimate" in choice.kind for choice in choices) else []
    found = [GUARANTEED if len(missing) < len(choices) else "No threshold keeps its guarantee."]
    if missing:
        lines = [f"  {choice.name}: {choice.kind}: {choice.why}" for choice in missing]
        advice = [GROUPED] if judgement.draws.grouped else []
        advice += [ADVICE] if len(judgement.goals.names) > 1 else []
        found.append("\n".join(["No threshold for:", *lines, *advice]))
    return found


def never_named(names: Sequence[str]) -> str:
    """The consequence for a saved classifier if these labels have no threshold."""
    labels = ", ".join(f'"{name}"' for name in names)
    return f"Its decision never names {labels}: without a threshold a label can't count."


def _label_table(rows: Sequence[JsonObject]) -> str:
    found = []
    for row in rows:
        threshold = row["threshold"]
        found.append(
            [
                f"{row['name']}: {row['action']}" if row["action"] else row["name"],
                f"{row['images']:,}",
                "–" if threshold is None else f"{threshold:.4g}",
                row["kind"],
                *(percent(row[key]) for key in KEYS),
            ]
        )
    return table(["", "images", "threshold", "", *HEADS], found)


def percent(triple: Triple | None) -> str:
    if triple is None:
        return "–"
    # Adding 0 turns -0.0, which a small negative number is rounded to, into 0.0.
    value, low, high = (round(100 * number, 1) + 0.0 for number in triple)
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns to the right, the first one to the left."""
    first, *widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = []
    for name, *cells in (heads, *rows):
        others = [f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)]
        lines.append("  ".join([f"{name:<{first}}", *others]).rstrip())
    return "\n".join(lines)
