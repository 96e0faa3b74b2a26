"""The report's images as thumbnails: mistakes, doubtful ones, and those that changed sides."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from classifier.contract.strict_json import JsonObject
from classifier.model.scoring import Floats
from tools.evaluate.dataset import Dataset
from tools.evaluate.judging.decisions import Decisions
from tools.evaluate.judging.intervals import Bools
from tools.evaluate.labelled import OTHER, Labelled
from tools.evaluate.report.page import thumbnail

SHOWN = 24
Indices = NDArray[np.intp]


def galleries(decisions: Sequence[Decisions], dataset: Dataset) -> list[JsonObject]:
    """Of the first classifier, and if there are two, how the second differs."""
    truth = dataset.truth
    labelled = np.asarray(truth.any(axis=1))
    first = decisions[0]
    right = [each.right(truth) for each in decisions]
    surest = np.argsort(-_wrongness(first, truth), kind="stable")

    def gallery(title: str, caption: str, chosen: Indices) -> JsonObject:
        entries = [_entry(decisions, right, dataset.images[i], i) for i in chosen[:SHOWN].tolist()]
        return {"title": title, "caption": caption, "images": entries}

    worst = surest[~right[0][surest] & labelled[surest]]
    caption = f"{_of(worst)} mistakes, the surest first. Is the image in the right folder?"
    found = [gallery("Worst mistakes", caption, worst)]
    if len(others := surest[~labelled[surest]]):
        caption = f"{_of(others)} images that show none of the labels, the surest of one first."
        found.append(gallery(f"Worst of {OTHER}", caption, others))
    doubtful = np.argsort(first.margins, kind="stable")
    caption = "Those whose answer is nearest to another one."
    found.append(gallery("Most doubtful images", caption, doubtful))
    if len(decisions) > 1:
        for better, worse in ((0, 1), (1, 0)):
            changed = np.flatnonzero(right[better] & ~right[worse])
            caption = f"{_of(changed)} that {decisions[worse].classifier} has wrong."
            title = f"Right with {decisions[better].classifier} alone"
            found.append(gallery(title, caption, changed))
    return found


def _wrongness(decisions: Decisions, truth: Bools) -> Floats:
    """How sure each answer is of a mistake [N]: the highest probability of a label that the image
    doesn't show, and with multi_label how far a label that it shows is from certain."""
    missed = 1 - decisions.probabilities if decisions.multi_label else 0.0
    found: Floats = np.where(truth, missed, decisions.probabilities).max(axis=1)
    return found


def _of(chosen: Indices) -> str:
    return f"{SHOWN} of {len(chosen):,}" if len(chosen) > SHOWN else f"{len(chosen):,}"


def _entry(
    decisions: Sequence[Decisions], right: Sequence[Bools], image: Labelled, i: int
) -> JsonObject:
    answers = [
        {
            "side": each.classifier if len(decisions) > 1 else "",
            "text": each.text(i),
            "right": bool(correct[i]),
        }
        for each, correct in zip(decisions, right, strict=True)
    ]
    # A file's name needn't be UTF-8, but the report is.
    path = str(image.path).encode("utf-8", "replace").decode()
    shows = ", ".join(sorted(image.labels)) or OTHER
    thumb = thumbnail(image.path)
    return {"thumbnail": thumb, "path": path, "shows": shows, "answers": answers}
