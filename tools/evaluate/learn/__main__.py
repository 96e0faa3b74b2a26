"""Teaches a classifier from labelled images.

The head starts at the words, and is judged on images that it didn't learn from.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from classifier.contract.bundle import BundleError
from classifier.contract.classifiers.file import ClassifierError, Head
from tools.arguments import MakeParser
from tools.evaluate.__main__ import add_arguments, chosen, run_with_source, saved, target
from tools.evaluate.classifier_file import Candidate, save, unsaved
from tools.evaluate.dataset import Dataset, gather
from tools.evaluate.embeddings import Cache
from tools.evaluate.judging.goals import GoalsError, ThresholdGoals
from tools.evaluate.judging.intervals import Triple
from tools.evaluate.judging.judgement import Judgement, judge
from tools.evaluate.labelled import ImagesError
from tools.evaluate.learn.learner import (
    FOLDS,
    Learner,
    by_words,
    curve,
    gain,
    held_back,
    out_of_fold,
)
from tools.evaluate.report.data import report_data
from tools.evaluate.report.page import write_report
from tools.evaluate.report.text import percent, text_of
from tools.evaluate.scores import Source

HELD_BACK = 0.5
REPORT = Path("build/learn.html")
LISTED = 5


@dataclass(frozen=True)
class LearnResult:
    """The head, and how good it is on images that it didn't learn from. `better`: than words."""

    head: Head
    judgement: Judgement
    better: Triple | None


def teach(learner: Learner, dataset: Dataset, goals: ThresholdGoals, share: float) -> LearnResult:
    """With a guarantee the head learns from a part of the images, and the rest gives the
    thresholds: on images that it never saw, its probabilities are those of images to come, which
    out-of-fold ones are not. Without, it learns from all images and is judged out of fold.
    """
    multi_label = learner.candidate.file.multi_label
    notes = [*dataset.notes, *check(dataset, multi_label=multi_label)]
    if goals.guarantees:
        kept = held_back(dataset.groups, share, np.random.default_rng(1))
        head = learner.head(dataset, ~kept)
        judged = dataset.part(np.flatnonzero(kept))
        learned = learner.answer(head, dataset.names, judged.answers[0].embeddings)
        notes.append(
            f"Learned from {int((~kept).sum()):,} other images; those judged here were held back. "
            "Without a guarantee it would learn from all."
        )
    else:
        head = learner.head(dataset, np.ones(len(dataset.truth), np.bool_))
        judged = dataset
        learned = out_of_fold(learner, dataset)
        notes.append(
            f"Learned from all images, and judged in {FOLDS} parts, each by a head that learned "
            f"from the other {FOLDS - 1}."
        )
    quality = "mean average precision" if multi_label else "accuracy of images that show a label"
    notes.append(f"Held-back images, {quality} by examples a label, with 95 % intervals:")
    notes += [f"  {each:2}: {percent(triple)}" for each, triple in curve(learner, dataset)]
    judged = replace(judged, answers=[learned, *judged.answers], notes=notes)
    judgement = judge(judged, replace(goals, own=False), learner.source.manifest)
    return LearnResult(head, judgement, gain(judged, judgement.draws))


def check(dataset: Dataset, *, multi_label: bool) -> list[str]:
    """Notes on labels with few images. Raises ImagesError for too few."""
    groups = [len(np.unique(dataset.groups[positives])) for positives in dataset.truth.T]
    least = 1 if multi_label else 2
    if (found := sum(count > 1 for count in groups)) < least:
        raise ImagesError(
            f"{found} labels have two images or more, of different groups; learning needs {least} "
            "such labels at least: one image to learn from and one to judge by."
        )
    few = [name for name, count in zip(dataset.names, groups, strict=True) if count < FOLDS]
    if not few:
        return []
    listed = ", ".join(few[:LISTED]) + (", …" if len(few) > LISTED else "")
    return [
        f"{len(few):,} of {len(groups):,} labels have fewer than {FOLDS} images of different "
        f"groups ({listed}): how good they are once learned is a rough guess."
    ]


def run(given: argparse.Namespace, open_source: Callable[[], Source]) -> None:
    """Learns, prints, writes the report, and saves if asked to. Exits with an error's message."""
    try:
        if given.against:
            raise GoalsError("--against is for make evaluate; learning compares with the words.")
        if not 0 < given.hold_back < 1:
            raise GoalsError(
                f"--hold-back {given.hold_back:g} must be more than 0 and less than 1, such as 0.5."
            )
        candidate = chosen(given)
        path = target(given, candidate)
        goals = ThresholdGoals.of(given, candidate)
        words = by_words(candidate)
        source = open_source()
        with Cache(given.cache) as cache:
            dataset = gather(source, given.pictures, [words], cache, given.exclude)
        result = teach(Learner.of(source, words), dataset, goals, given.hold_back)
        print(text_of(result.judgement))
        write_report(given.report, report_data(result.judgement))
        print(f"\nLearned minus words: {percent(result.better)}. Report: {given.report}")
        if path:
            _save(result, candidate, path, source, anyway=given.anyway)
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. The same command goes on where it was.")
    except (OSError, BundleError, ClassifierError, ImagesError, GoalsError) as err:
        sys.exit(f"error: {err}")


def _save(
    result: LearnResult, candidate: Candidate, path: Path, source: Source, *, anyway: bool
) -> None:
    if not anyway and (result.better is None or result.better[1] <= 0):
        sys.exit(
            "Nothing is saved: the learned head isn't shown to be better than the words "
            f"({percent(result.better)}; the interval must lie above 0). More images may show it; "
            f"--anyway saves it all the same. {unsaved(path)}"
        )
    if (changes := result.judgement.changes()) is None:
        sys.exit(
            "Nothing is saved: no threshold keeps its guarantee on the images held back. "
            f"{unsaved(path)} Without a guarantee the head is saved with estimates."
        )
    save(candidate, path, changes | {"head": result.head.model_dump()}, source.manifest)
    print(saved(path, source))


def main(argv: Sequence[str] | None = None) -> None:
    parser = MakeParser(prog="make learn", description=__doc__)
    add_arguments(parser)
    parser.set_defaults(report=REPORT)
    parser.add_argument(
        "--hold-back",
        type=float,
        default=HELD_BACK,
        metavar="0.5",
        help=(
            "with a guarantee: the share of images that give the thresholds instead of teaching; "
            f"default: {HELD_BACK}"
        ),
    )
    parser.add_argument(
        "--anyway",
        action="store_true",
        help="also save a head that isn't shown to be better than the words",
    )
    run_with_source(parser, argv, run)


if __name__ == "__main__":
    main()
