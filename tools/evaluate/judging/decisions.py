"""Which labels a classifier names for each image, with the thresholds that it has or would get."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from classifier.model.scoring import Floats
from tools.evaluate.dataset import Answers
from tools.evaluate.judging.choices import Choice, mildest
from tools.evaluate.judging.intervals import Bools, Ints


@dataclass(frozen=True)
class Decisions:
    """One classifier's. `decided` [N, L]: which labels count; `margins` [N]: how near each answer
    is to another one."""

    classifier: str
    names: Sequence[str]
    probabilities: Floats
    decided: Bools
    margins: Floats
    multi_label: bool

    def right(self, truth: Bools) -> Bools:
        """Whether each answer is right [N]: all labels of the image and no others, or one of them
        if a single one is chosen. No label at all is right for an image of none of them."""
        if self.multi_label:
            return np.asarray((self.decided == truth).all(axis=1))
        chosen = (self.decided & truth).any(axis=1)
        return np.where(self.decided.any(axis=1), chosen, ~truth.any(axis=1))

    def text(self, i: int) -> str:
        """The labels that count, or the most likely one if none does."""

        def entry(j: int) -> str:
            share = float(self.probabilities[i, j])
            # A model's own sigmoid may give a right label 0.003 %.
            return f"{self.names[j]} {f'{share:.1%}' if share >= 0.01 else f'{100 * share:.2g}%'}"

        counted = map(entry, np.flatnonzero(self.decided[i]).tolist())
        best = int(self.probabilities[i].argmax())
        return ", ".join(counted) or f"none (most likely {entry(best)})"


def decide(answers: Answers, names: Sequence[str], choices: Sequence[Choice]) -> Decisions:
    """With multi_label each label that reaches its lowest threshold, else the most likely of those.

    A label without a threshold never counts if another one has one. If none has, the most likely
    label counts, and with multi_label those from a half on. min_similarity holds in any case.
    """
    probabilities = answers.counted
    multi_label = answers.file.multi_label
    limits = mildest(choices)
    if limits:
        thresholds = np.array([limits.get(name, np.inf) for name in names])
    else:
        thresholds = np.full(len(names), 0.5 if multi_label else 0.0)
    # Probabilities are 0 if min_similarity lets no label count.
    reached = (probabilities >= thresholds) & (probabilities > 0)
    if multi_label:
        margins = np.abs(probabilities - thresholds).min(axis=1)
        return Decisions(
            answers.candidate.name, names, probabilities, reached, margins, multi_label
        )
    decided = np.zeros(reached.shape, np.bool_)
    best = np.where(reached, probabilities, 0).argmax(axis=1)
    decided[np.arange(len(best)), best] = reached.any(axis=1)
    ordered = np.sort(probabilities, axis=1)
    margins = ordered[:, -1] - (ordered[:, -2] if len(names) > 1 else 0.0)
    return Decisions(answers.candidate.name, names, probabilities, decided, margins, multi_label)


def predicted(answers: Answers) -> Ints:
    """The most likely label [N] whatever its threshold, -1 if min_similarity lets none count."""
    probabilities = answers.counted
    best: Ints = np.where(probabilities.max(axis=1) > 0, probabilities.argmax(axis=1), -1)
    return best
