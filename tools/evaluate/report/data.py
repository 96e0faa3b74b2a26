"""A judgement as the data that report.html shows."""

import time

from classifier.contract.strict_json import JsonObject
from tools.evaluate.judging.choices import mildest
from tools.evaluate.judging.judgement import Judgement
from tools.evaluate.report.charts import (
    DECADES,
    POINTS,
    TOTAL_POINTS,
    confusion,
    curve,
    reliability,
)
from tools.evaluate.report.galleries import galleries
from tools.evaluate.report.text import ACCURACY, about_thresholds, mix, subject

LEAST_POINTS = 20


def report_data(judgement: Judgement) -> JsonObject:
    dataset = judgement.dataset
    first = dataset.answers[0]
    matrix, confused = None, list[tuple[str, str, int]]()
    if not first.file.multi_label:
        matrix, confused = confusion(judgement.decisions[0], dataset)
    logarithmic = first.file.multi_label and judgement.models[0].scoring == "sigmoid"
    bins, caption = reliability(first, dataset, logarithmic=logarithmic)
    notes = [*dataset.notes, *about_thresholds(judgement)]
    return {
        "title": f"How good is {judgement.names[0]}?",
        "lines": subject(judgement),
        "mix": mix(judgement),
        "notes": [line.strip() for text in notes for line in text.split("\n")],
        "sides": judgement.names,
        "overall": [{"name": name, "values": values} for name, values in judgement.overall],
        "overall_caption": ACCURACY,
        "tables": [
            {"caption": f"{name}, each label at its threshold, with 95 % intervals", "rows": rows}
            for name, rows in zip(judgement.names, judgement.rows, strict=True)
        ],
        "differences": [{"name": name, "value": gain} for name, gain in judgement.differences],
        "confusion": matrix,
        "confused": confused,
        "curves": _curves(judgement),
        "decades": DECADES if logarithmic else None,
        "reliability": bins,
        "reliability_caption": caption,
        "galleries": galleries(judgement.decisions, dataset),
        "made": (
            f"Made on {time.strftime('%d %B %Y')}. Everything is in this file; it loads nothing."
        ),
    }


def _curves(judgement: Judgement) -> list[JsonObject]:
    """Of the first classifier, for each label that some images show and others don't."""
    dataset = judgement.dataset
    limits = mildest(judgement.choices[0])
    points = max(LEAST_POINTS, min(POINTS, TOTAL_POINTS // len(dataset.names)))
    found = []
    for i, name in enumerate(dataset.names):
        positives = dataset.truth[:, i]
        if positives.any() and not positives.all():
            probabilities = dataset.answers[0].counted[:, i]
            prevalence = judgement.goals.prevalence.get(name)
            limit = limits.get(name)
            found.append(
                curve(name, positives, probabilities, dataset.groups, limit, prevalence, points)
            )
    return found
