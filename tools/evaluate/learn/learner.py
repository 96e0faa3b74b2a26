"""A classifier that learns from labelled images, and its answers afterwards."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from classifier.contract.classifiers.file import Head
from classifier.engine.context import RequestContext
from tools.evaluate.classifier_file import Candidate
from tools.evaluate.dataset import Answers, Dataset, answer
from tools.evaluate.judging.decisions import predicted
from tools.evaluate.judging.intervals import Bools, Ints, Triple
from tools.evaluate.judging.measures import (
    Draws,
    accuracies,
    accuracy_differences,
    mean_average_precision,
)
from tools.evaluate.learn.head import Start, learn
from tools.evaluate.scores import Source
from tools.workers import unlimited

FOLDS = 5
EXAMPLES = (0, 1, 2, 4, 8, 16)
WORDS = ", words"


@dataclass(frozen=True)
class Learner:
    """`candidate`: by its words alone; `start`: the words' answer."""

    source: Source
    candidate: Candidate
    start: Start

    @classmethod
    def of(cls, source: Source, candidate: Candidate) -> "Learner":
        """Raises ClassifierError."""
        prepared = source.prepare({candidate.name: candidate.file})
        manifest = source.manifest
        deployed = prepared.find(candidate.name)
        weights = prepared.vectors(deployed, RequestContext(unlimited))
        start = Start(
            weights.rows.astype(np.float32),
            deployed.prompt_set.groups,
            manifest.logit_scale,
            manifest.logit_bias or 0.0,
            candidate.file.multi_label,
            candidate.file.combine,
        )
        return cls(source, candidate, start)

    def head(self, dataset: Dataset, chosen: Bools) -> Head:
        """Learned from the chosen images [N]."""
        embeddings = dataset.answers[0].embeddings[chosen]
        rows = learn(self.start, embeddings, dataset.truth[chosen])
        taught = chosen if self.start.multi_label else chosen & dataset.truth.any(axis=1)
        return Head(
            vectors=base64.b64encode(rows.astype("<f4").tobytes()).decode(),
            scale=self.start.scale,
            learned_from=sorted(np.array(dataset.hashes)[taught].tolist()),
        )

    def answer(self, head: Head, names: Sequence[str], embeddings: NDArray[np.float32]) -> Answers:
        """By the run time's own code, as the API would answer with this head."""
        file = self.candidate.file.model_copy(update={"head": head})
        learned = f"{self.candidate.name.removesuffix(WORDS)}, learned"
        candidate = replace(self.candidate, name=learned)
        prepared = self.source.prepare({learned: file})
        manifest = self.source.manifest
        return answer(prepared, learned, candidate, file, names, manifest, embeddings)


def by_words(candidate: Candidate) -> Candidate:
    """Without its head, and without thresholds, which were for other probabilities."""
    without = {"head": None, "fitted_on": None, "thresholds": None}
    file = candidate.file.model_copy(update=without)
    return replace(candidate, name=f"{candidate.name}{WORDS}", file=file)


def folds(groups: Ints, rng: np.random.Generator) -> Ints:
    """Each image's fold [N], the same for those of one group."""
    numbers = np.unique(groups, return_inverse=True)[1]
    found: Ints = (rng.permutation(int(numbers.max()) + 1) % FOLDS)[numbers]
    return found


def held_back(groups: Ints, share: float, rng: np.random.Generator) -> Bools:
    """Images [N] to judge by: whole groups, drawn without a look at their labels."""
    numbers = np.unique(groups, return_inverse=True)[1]
    count = int(numbers.max()) + 1
    found: Bools = np.isin(numbers, rng.permutation(count)[: round(share * count)])
    return found


def examples(truth: Bools, among: Bools, each: int, rng: np.random.Generator) -> Bools:
    """At most `each` of these images [N] for every label, and for none of them."""
    found = np.zeros(len(truth), np.bool_)
    order = rng.permutation(np.flatnonzero(among))
    for positives in (*truth.T, ~truth.any(axis=1)):
        found[order[positives[order]][:each]] = True
    return found


def out_of_fold(learner: Learner, dataset: Dataset, each: int | None = None) -> Answers:
    """For each fold, the answers of a head that learned from the other folds.

    `each`: from at most this number of images a label.
    """
    rng = np.random.default_rng(0)
    parts = folds(dataset.groups, rng)
    words = dataset.answers[0]
    probabilities = words.probabilities.copy()
    counted = words.counted.copy()
    found = words
    subject = "all examples" if each is None else f"{each} examples a label"
    for fold in tqdm(range(FOLDS), f"Learning from {subject}", unit="part"):
        test = parts == fold
        if not test.any():
            continue
        chosen = ~test if each is None else examples(dataset.truth, ~test, each, rng)
        head = learner.head(dataset, chosen)
        found = learner.answer(head, dataset.names, words.embeddings[test])
        probabilities[test] = found.probabilities
        counted[test] = found.counted
    return replace(found, embeddings=words.embeddings, probabilities=probabilities, counted=counted)


def quality(dataset: Dataset, answers: Answers, draws: Draws) -> Triple | None:
    """Accuracy of the images that show a label; with multi_label mean average precision."""
    if answers.file.multi_label:
        return mean_average_precision(dataset.truth, answers.counted, draws)
    return accuracies(predicted(answers), dataset.truth, draws)[0]


def gain(dataset: Dataset, draws: Draws) -> Triple | None:
    """The quality of the first answers less that of the second."""
    first, second = dataset.answers
    truth = dataset.truth
    if first.file.multi_label:
        return mean_average_precision(truth, first.counted, draws, less=second.counted)
    gains = accuracy_differences(predicted(first), predicted(second), truth, draws)
    return gains.get("accuracy")


def curve(learner: Learner, dataset: Dataset) -> list[tuple[int, Triple | None]]:
    """The quality by the number of examples a label."""
    draws = Draws(dataset.groups)
    return [
        (each, quality(dataset, out_of_fold(learner, dataset, each), draws)) for each in EXAMPLES
    ]
