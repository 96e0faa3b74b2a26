"""The pictures of a report: worst mistakes, most doubtful ones, and those that changed sides, as thumbnails."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from classifier.contract.strict_json import JsonObject
from classifier.model.scoring import Floats
from tools.evaluate.pictures import OTHER, Labelled
from tools.evaluate.report.page import thumbnail

SHOWN = 24


@dataclass(frozen=True)
class Side:
    """One classifier's answers. `decided` [N, L]: which names count: the most likely one, or with multi_label those that reached their
    threshold; `margins` [N]: how near each answer is to another one."""

    name: str
    names: Sequence[str]
    probabilities: Floats
    decided: NDArray[np.bool_]
    margins: Floats


def is_right(side: Side, truth: NDArray[np.bool_], *, multi_label: bool) -> NDArray[np.bool_]:
    """Whether each answer is right [N]: all names that the picture shows and no others, or one of them where a single one is chosen."""
    if multi_label:
        return np.asarray((side.decided == truth).all(axis=1))
    chosen = (side.decided & truth).any(axis=1)
    return np.where(side.decided.any(axis=1), chosen, ~truth.any(axis=1))


def wrongness(side: Side, truth: NDArray[np.bool_], *, multi_label: bool) -> Floats:
    """How sure each answer is of what is wrong [N]: the largest probability of a name that the picture doesn't show, and with multi_label
    also what a name lacks that it does show."""
    wrong = np.where(truth, 1 - side.probabilities if multi_label else 0.0, side.probabilities)
    found: Floats = wrong.max(axis=1)
    return found


def galleries(
    sides: Sequence[Side], pictures: Sequence[Labelled], truth: NDArray[np.bool_], *, multi_label: bool
) -> list[JsonObject]:
    """For the report, of the first side, and where there are two, what the second did otherwise."""
    right = [is_right(side, truth, multi_label=multi_label) for side in sides]

    def gallery(title: str, caption: str, chosen: NDArray[np.intp]) -> JsonObject:
        return {"title": title, "caption": caption, "pictures": [_entry(sides, right, pictures[i], i) for i in chosen.tolist()]}

    sure = wrongness(sides[0], truth, multi_label=multi_label)
    worst, others = (
        chosen[np.argsort(-sure[chosen], kind="stable")]
        for chosen in (np.flatnonzero(~right[0] & truth.any(axis=1)), np.flatnonzero(~truth.any(axis=1)))
    )
    doubtful = np.argsort(sides[0].margins, kind="stable")[:SHOWN]
    found = [
        gallery("Worst mistakes", f"{_of(worst)} mistakes, the surest first. Is the picture in the right folder?", worst[:SHOWN]),
        gallery("Most doubtful pictures", "Those whose answer is nearest to another one.", doubtful),
    ]
    if len(others):
        caption = f"{_of(others)} pictures that show none of the names, those first that are taken for one the most surely."
        found.insert(1, gallery(f"Worst of {OTHER}", caption, others[:SHOWN]))
    if len(sides) > 1:
        first, second = (side.name for side in sides)
        for better, worse, mask in ((first, second, right[0] & ~right[1]), (second, first, right[1] & ~right[0])):
            changed = np.flatnonzero(mask)
            found.append(gallery(f"Right with {better} alone", f"{_of(changed)} that {worse} has wrong.", changed[:SHOWN]))
    return found


def _of(chosen: NDArray[np.intp]) -> str:
    return f"{SHOWN} of {len(chosen):,}" if len(chosen) > SHOWN else f"{len(chosen):,}"


def _entry(sides: Sequence[Side], right: Sequence[NDArray[np.bool_]], picture: Labelled, i: int) -> JsonObject:
    answers = [
        {"side": side.name if len(sides) > 1 else "", "text": answer_text(side, i), "right": bool(correct[i])}
        for side, correct in zip(sides, right, strict=True)
    ]
    # A file's name needn't be UTF-8, but the report is.
    path = str(picture.path).encode("utf-8", "replace").decode()
    return {"thumbnail": thumbnail(picture.path), "path": path, "shows": shows(picture), "answers": answers}


def shows(picture: Labelled) -> str:
    return ", ".join(sorted(picture.labels)) or OTHER


def answer_text(side: Side, i: int) -> str:
    """The names that count, or the most likely one where none does."""
    counted = np.flatnonzero(side.decided[i])
    best = int(side.probabilities[i].argmax())
    entries = [f"{side.names[j]} {side.probabilities[i, j]:.1%}" for j in counted.tolist()]
    return ", ".join(entries) or f"none (most likely {side.names[best]} {side.probabilities[i, best]:.1%})"
