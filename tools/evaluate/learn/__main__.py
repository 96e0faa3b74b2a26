"""Teaches a classifier by labelled pictures: a head that starts at the words, judged on pictures that it didn't learn from."""

import argparse
import base64
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from classifier.contract.bundle import BundleError
from classifier.contract.classifier_file import ClassifierError, Head
from classifier.engine.context import RequestContext
from tools.classify import unlimited
from tools.evaluate.__main__ import add_arguments, chosen, run_locally, target
from tools.evaluate.classifier_file import Judged, save
from tools.evaluate.dataset import Answers, Material, answer, gather
from tools.evaluate.embeddings import Cache
from tools.evaluate.judging.goals import Wanted, WantedError
from tools.evaluate.judging.judgement import Judgement, judge, percent, taken
from tools.evaluate.judging.measures import (
    Bools,
    Draws,
    Ints,
    Triple,
    accuracies,
    accuracy_differences,
    mean_average_precision,
)
from tools.evaluate.learn.head import Start, learn
from tools.evaluate.pictures import PicturesError
from tools.evaluate.report.page import write_report
from tools.evaluate.scores import Source

FOLDS = 5
EXAMPLES = (0, 1, 2, 4, 8, 16)
HELD_BACK = 0.5
WORDS = ", words"
REPORT = Path("build/learn.html")


@dataclass(frozen=True)
class Pupil:
    """A classifier by its words, and what it answers once it has learned."""

    source: Source
    judged: Judged
    start: Start

    @classmethod
    def of(cls, source: Source, judged: Judged) -> "Pupil":
        """`judged`: by words alone. Raises ClassifierError."""
        prepared, manifest = source.prepare({judged.name: judged.file}), source.manifest
        named = prepared.find(judged.name)
        rows = prepared.vectors(named, RequestContext(unlimited)).rows.astype(np.float32)
        start = Start(
            rows,
            named.prompt_set.groups,
            manifest.logit_scale,
            manifest.logit_bias or 0.0,
            judged.file.multi_label,
            judged.file.combine,
        )
        return cls(source, judged, start)

    def head(self, material: Material, chosen: Bools) -> Head:
        """Learned from the chosen pictures [N]."""
        embeddings = material.answers[0].embeddings[chosen]
        rows = learn(self.start, embeddings, material.truth[chosen])
        taught = chosen if self.start.multi_label else chosen & material.truth.any(axis=1)
        hashes = sorted(np.array(material.hashes)[taught].tolist())
        return Head(vectors=base64.b64encode(rows.astype("<f4").tobytes()).decode(), scale=self.start.scale, learned_from=hashes)

    def answer(self, head: Head, names: Sequence[str], embeddings: NDArray[np.float32]) -> Answers:
        """By the run time's own code, as the API would answer with this head."""
        file = self.judged.file.model_copy(update={"head": head})
        judged = replace(self.judged, name=f"{self.judged.name.removesuffix(WORDS)}, learned")
        return answer(
            self.source.prepare({judged.name: file}), judged.name, judged, file, names, self.source.manifest, embeddings
        )


def folds(groups: Ints, rng: np.random.Generator) -> Ints:
    """Each picture's fold [N], the same for those of one group."""
    numbers = np.unique(groups, return_inverse=True)[1]
    found: Ints = (rng.permutation(int(numbers.max()) + 1) % FOLDS)[numbers]
    return found


def held_back(groups: Ints, share: float, rng: np.random.Generator) -> Bools:
    """Pictures [N] to judge by, whole groups, drawn without a look at what they show."""
    numbers = np.unique(groups, return_inverse=True)[1]
    count = int(numbers.max()) + 1
    found: Bools = np.isin(numbers, rng.permutation(count)[: round(share * count)])
    return found


def examples(truth: Bools, among: Bools, each: int, rng: np.random.Generator) -> Bools:
    """At most `each` pictures of every name and of none of them, among those [N]."""
    found, order = np.zeros(len(truth), np.bool_), rng.permutation(np.flatnonzero(among))
    for shown in (*truth.T, ~truth.any(axis=1)):
        found[order[shown[order]][:each]] = True
    return found


def out_of_fold(pupil: Pupil, material: Material, each: int | None = None) -> Answers:
    """What heads answer to pictures of a fold that learned from the other folds, from at most `each` pictures a name."""
    rng = np.random.default_rng(0)
    parts = folds(material.groups, rng)
    words = material.answers[0]
    shares, counted = words.probabilities.copy(), words.counted.copy()
    judged = words
    for fold in range(FOLDS):
        test = parts == fold
        if not test.any():
            continue
        learners = ~test if each is None else examples(material.truth, ~test, each, rng)
        judged = pupil.answer(pupil.head(material, learners), material.names, words.embeddings[test])
        shares[test], counted[test] = judged.probabilities, judged.counted
    return replace(judged, embeddings=words.embeddings, probabilities=shares, counted=counted)


def quality(material: Material, answers: Answers, draws: Draws) -> Triple | None:
    """Accuracy; with multi_label the mean of the names' average precisions."""
    if answers.file.multi_label:
        return mean_average_precision(material.truth, answers.counted, draws)
    return accuracies(taken(answers), material.truth, draws)[0]


def gain(material: Material, draws: Draws) -> Triple | None:
    """The same, of the first answers less the second."""
    first, second = material.answers
    if first.file.multi_label:
        return mean_average_precision(material.truth, first.counted, draws, less=second.counted)
    return accuracy_differences(taken(first), taken(second), material.truth, draws).get("accuracy")


def curve(pupil: Pupil, material: Material) -> list[tuple[int, Triple | None]]:
    """How good it is for so many examples a name."""
    draws = Draws(material.groups)
    return [(each, quality(material, out_of_fold(pupil, material, each), draws)) for each in EXAMPLES]


def part(material: Material, chosen: Ints) -> Material:
    """The pictures of these numbers alone, in their order."""
    answers = [
        replace(each, embeddings=each.embeddings[chosen], probabilities=each.probabilities[chosen], counted=each.counted[chosen])
        for each in material.answers
    ]
    return replace(
        material,
        pictures=[material.pictures[i] for i in chosen],
        hashes=[material.hashes[i] for i in chosen],
        truth=material.truth[chosen],
        groups=material.groups[chosen],
        answers=answers,
    )


def by_words(judged: Judged) -> Judged:
    """Without what it had learned, and without thresholds, which were for other probabilities."""
    without = {"head": None, "fitted_on": None, "thresholds": None}
    return replace(judged, name=f"{judged.name}{WORDS}", file=judged.file.model_copy(update=without))


def check(material: Material, *, multi_label: bool) -> list[str]:
    """Notes on labels with few pictures. Raises PicturesError for too few to learn from and to judge by."""
    groups = [len(np.unique(material.groups[shown])) for shown in material.truth.T]
    least = 1 if multi_label else 2
    if (found := sum(count > 1 for count in groups)) < least:
        raise PicturesError(
            f"{found} labels have two pictures or more, of different groups; learning needs {least} such labels at least: one picture to "
            "learn from and one to judge by."
        )
    few = [name for name, count in zip(material.names, groups, strict=True) if count < FOLDS]
    if not few:
        return []
    return [
        f"{len(few):,} of {len(groups):,} labels have fewer than {FOLDS} pictures of different groups ({', '.join(few[:5])}{', …' if len(few) > 5 else ''}): how "
        "good they are once learned is a rough guess."
    ]


@dataclass(frozen=True)
class Lesson:
    """What was learned, and how good it is on pictures that it didn't learn from."""

    head: Head
    judgement: Judgement
    better: Triple | None


def teach(pupil: Pupil, material: Material, wanted: Wanted, share: float) -> Lesson:
    """With a promise the head learns from a part of the pictures, and the rest, which it never saw, gives the thresholds: its
    probabilities there come from the same head and the same world as those to come, which out-of-fold ones do not. Without, it learns
    from all of them, and is judged by out-of-fold probabilities."""
    everything = np.ones(len(material.truth), np.bool_)
    notes = [*material.notes, *check(material, multi_label=pupil.judged.file.multi_label)]
    if wanted.promises:
        kept = held_back(material.groups, share, np.random.default_rng(1))
        head, judged = pupil.head(material, ~kept), part(material, np.flatnonzero(kept))
        learned = pupil.answer(head, material.names, judged.answers[0].embeddings)
        notes.append(
            f"Learned from {int((~kept).sum()):,} other pictures; those judged here were held back. With no promise to keep, it would learn "
            "from all."
        )
    else:
        head, judged = pupil.head(material, everything), material
        learned = out_of_fold(pupil, material)
        notes.append(
            f"Learned from all pictures, and judged in {FOLDS} parts, each by a head that learned from the other {FOLDS - 1}."
        )
    what = "mean average precision" if pupil.judged.file.multi_label else "accuracy"
    notes.append(f"Held-back pictures, {what} for so many examples a label, 95 % intervals in brackets:")
    notes += [f"  {each:2}: {percent(triple)}" for each, triple in curve(pupil, material)]
    judged = replace(judged, answers=[learned, *judged.answers], notes=notes)
    judgement = judge(judged, replace(wanted, own=False), pupil.source.manifest)
    return Lesson(head, judgement, gain(judged, judgement.draws))


def run(given: argparse.Namespace, open_source: Callable[[], Source]) -> None:
    """Learns, prints, writes the report, and saves if asked to. Exits with a message for what can't be done."""
    try:
        if given.against:
            raise WantedError("--against is for make evaluate; learning compares with the words.")
        if not 0 < given.hold_back < 1:
            raise WantedError(f"--hold-back {given.hold_back:g} must be more than 0 and less than 1, such as 0.5.")
        judged = chosen(given)
        path, wanted, words = target(given, judged), Wanted.of(given, judged), by_words(judged)
        source = open_source()
        with Cache(given.cache) as cache:
            material = gather(source, given.pictures, [words], cache, given.exclude)
        lesson = teach(Pupil.of(source, words), material, wanted, given.hold_back)
        print(lesson.judgement.text())
        write_report(given.report, lesson.judgement.report())
        print(f"\nLearned less words: {percent(lesson.better)}. Report: {given.report}")
        if path:
            _save(lesson, judged, path, source, anyway=given.anyway)
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. The same command goes on where it was.")
    except (OSError, BundleError, ClassifierError, PicturesError, WantedError) as err:
        sys.exit(f"error: {err}")


def _save(lesson: Lesson, judged: Judged, path: Path, source: Source, *, anyway: bool) -> None:
    if not anyway and (lesson.better is None or lesson.better[1] <= 0):
        sys.exit(
            f"Nothing is saved: what was learned isn't shown to be better than the words ({percent(lesson.better)}; the interval must lie above "
            f"0). More pictures may show it; --anyway saves it all the same. {path} stays as it was."
        )
    if (changes := lesson.judgement.changes()) is None:
        sys.exit(
            f"Nothing is saved: no threshold keeps its promise on the pictures held back. {path} stays as it was. Without a promise the "
            "head is saved with estimates."
        )
    save(judged, path, changes | {"head": lesson.head.model_dump()}, source.manifest)
    print(f"Saved: {path}")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="make learn", description=__doc__)
    add_arguments(parser)
    parser.set_defaults(report=REPORT)
    parser.add_argument(
        "--hold-back",
        type=float,
        default=HELD_BACK,
        metavar="0.5",
        help="with a promise: the share of pictures that give the thresholds instead of teaching; default: 0.5",
    )
    parser.add_argument("--anyway", action="store_true", help="save what isn't shown to be better than the words too")
    run_locally(parser, argv, run)


if __name__ == "__main__":
    main()
