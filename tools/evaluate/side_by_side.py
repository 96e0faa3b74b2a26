"""The same classifier with two bundles, on the same images."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from classifier.contract.bundle import MANIFEST, BundleManifest
from classifier.contract.classifiers.file import ClassifierError, parse_classifier
from tools.bundles import announced, choose
from tools.evaluate.classifier_file import Candidate
from tools.evaluate.dataset import gather
from tools.evaluate.embeddings import Cache
from tools.evaluate.judging.goals import ThresholdGoals
from tools.evaluate.judging.judgement import Judgement, judge
from tools.evaluate.labelled import ImagesError
from tools.evaluate.scores import Bundle

# Options that have a meaning for one bundle alone.
ALONE = ("save", "against", "endpoint")


def two(given: argparse.Namespace) -> list[Path]:
    """The folders that --bundle names, if there are two. A folder's name may have a space itself.

    Raises ClassifierError for more, or with an option that goes with one alone.
    """
    if given.bundle is None or (given.bundle / MANIFEST).exists():
        return []
    folders = [Path(word).expanduser() for word in str(given.bundle).split()]
    if len(folders) < 2:
        return []
    if len(folders) > 2:
        raise ClassifierError(f"{len(folders)} bundles are named; two can be compared.")
    for option in ALONE:
        if getattr(given, option) is not None:
            raise ClassifierError(f"--{option} goes with one bundle; name one of the two.")
    return folders


def for_model(candidate: Candidate, manifest: BundleManifest) -> Candidate:
    """The question as the model takes it: one that judges each label alone takes no negatives."""
    if manifest.scoring == "softmax" or "negative_template" not in candidate.value:
        return candidate
    value = {key: item for key, item in candidate.value.items() if key != "negative_template"}
    return replace(candidate, value=value, file=parse_classifier(value))


def compare(given: argparse.Namespace, candidate: Candidate, folders: Sequence[Path]) -> Judgement:
    """Each side with thresholds of its own. Raises BundleError, ClassifierError and ImagesError."""
    sides = []
    with Cache(given.cache) as cache:
        for folder in folders:
            bundle = Bundle(announced(choose(folder)), given.processes)
            named = replace(for_model(candidate, bundle.manifest), name=str(folder))
            dataset = gather(bundle, given.pictures, [named], cache, given.exclude)
            time = f"{folder}: an image takes {bundle.milliseconds():.1f} ms in the image encoder"
            dataset.notes.append(f"{time}, the least of some on this machine.")
            goals = ThresholdGoals.of(given, named)
            sides.append(judge(dataset, goals, bundle.manifest))
    first, second = (side.dataset for side in sides)
    if first.hashes != second.hashes:
        raise ImagesError("The images changed between the two bundles; try again.")
    # What is said of the images is the same on both sides.
    notes = list(dict.fromkeys([*first.notes, *second.notes]))
    both = replace(first, answers=[*first.answers, *second.answers], notes=notes)
    return Judgement(
        both,
        sides[0].goals,
        [manifest for side in sides for manifest in side.models],
        [choices for side in sides for choices in side.choices],
    )
