"""How good classifiers are on a dataset: thresholds, and numbers with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from classifier.contract.bundle import BundleManifest
from classifier.contract.strict_json import JsonObject
from tools.evaluate.dataset import Answers, Dataset
from tools.evaluate.judging.choices import (
    Choice,
    changes,
    estimated_choices,
    guaranteed_choices,
    own_choices,
)
from tools.evaluate.judging.decisions import Decisions, decide, predicted
from tools.evaluate.judging.goals import ThresholdGoals
from tools.evaluate.judging.intervals import Triple
from tools.evaluate.judging.measures import (
    Draws,
    accuracies,
    accuracy_differences,
    average_precision_difference,
    measure,
)


@dataclass(frozen=True)
class Judgement:
    """`models` and `choices`: the model and the thresholds of each classifier."""

    dataset: Dataset
    goals: ThresholdGoals
    models: list[BundleManifest]
    choices: list[list[Choice]]

    def changes(self) -> JsonObject | None:
        """The fields to save; None if there is no threshold."""
        return changes(self.choices[0], self.goals)

    @property
    def missing(self) -> list[Choice]:
        """The thresholds of the first classifier that there should be and aren't."""
        return [choice for choice in self.choices[0] if choice.threshold is None]

    @cached_property
    def draws(self) -> Draws:
        return Draws(self.dataset.groups)

    @property
    def names(self) -> list[str]:
        """The classifiers'."""
        return [answers.candidate.name for answers in self.dataset.answers]

    @property
    def exclusive(self) -> bool:
        """Whether there is one answer for an image, so that accuracy has a meaning."""
        return not any(answers.file.multi_label for answers in self.dataset.answers)

    @cached_property
    def decisions(self) -> list[Decisions]:
        return [
            decide(answers, self.dataset.names, choices)
            for answers, choices in zip(self.dataset.answers, self.choices, strict=True)
        ]

    @cached_property
    def overall(self) -> list[tuple[str, list[Triple | None]]]:
        """Accuracies, one for each classifier."""
        if not self.exclusive:
            return []
        truth = self.dataset.truth
        every = np.ones(len(truth), np.bool_)
        of_all = [self.draws.share(each.right(truth), every) for each in self.decisions]
        of_labelled = [
            accuracies(predicted(answers), truth, self.draws) for answers in self.dataset.answers
        ]
        return [
            ("accuracy, all images", of_all),
            ("accuracy, images that show a label", [plain for plain, _ in of_labelled]),
            ("balanced accuracy, mean of the labels", [balanced for _, balanced in of_labelled]),
        ]

    @cached_property
    def rows(self) -> list[list[JsonObject]]:
        return [
            self._rows(answers, choices)
            for answers, choices in zip(self.dataset.answers, self.choices, strict=True)
        ]

    def _rows(self, answers: Answers, choices: Sequence[Choice]) -> list[JsonObject]:
        """A row for each threshold, and one for each label without."""
        found = []
        for i, name in enumerate(self.dataset.names):
            positives = self.dataset.truth[:, i]
            prevalence = self.goals.prevalence.get(name)
            own = [choice for choice in choices if choice.name == name]
            for choice in own or [Choice(name, None, None, "")]:
                passes = choice.threshold is not None
                row = {
                    "name": name,
                    "action": choice.action or "",
                    "images": int(positives.sum()),
                    "threshold": choice.threshold,
                    "kind": choice.kind if passes else "none passes" if choice.kind else "",
                }
                probabilities = answers.counted[:, i]
                numbers = measure(
                    positives, probabilities, choice.threshold, self.draws, prevalence
                )
                found.append(row | numbers)
        return found

    @cached_property
    def differences(self) -> list[tuple[str, Triple]]:
        """The first classifier less the second."""
        if len(self.dataset.answers) < 2:
            return []
        first, second = self.dataset.answers
        truth = self.dataset.truth
        found = list[tuple[str, Triple]]()
        if self.exclusive:
            gains = accuracy_differences(predicted(first), predicted(second), truth, self.draws)
            titles = [title for title, _ in self.overall[1:]]
            found += zip(titles, gains.values(), strict=False)
        for i, name in enumerate(self.dataset.names):
            if truth[:, i].any():
                prevalence = self.goals.prevalence.get(name)
                gain = average_precision_difference(
                    truth[:, i], first.counted[:, i], second.counted[:, i], self.draws, prevalence
                )
                found.append((f"average precision, {name}", gain))
        return found


def judge(dataset: Dataset, goals: ThresholdGoals, manifest: BundleManifest) -> Judgement:
    first, *others = dataset.answers
    if goals.own and first.file.thresholds:
        chosen = own_choices(first, dataset.names)
    elif goals.guarantees:
        chosen = guaranteed_choices(dataset, goals)
    else:
        chosen = estimated_choices(first, dataset, goals)
    choices = [chosen]
    for each in others:
        own = own_choices(each, dataset.names)
        choices.append(own or estimated_choices(each, dataset, goals))
    return Judgement(dataset, goals, [manifest] * len(choices), choices)
