"""Judges a classifier on labelled images: numbers, guaranteed thresholds and a report."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from classifier.contract.bundle import BundleError
from classifier.contract.classifiers.decision import without_threshold
from classifier.contract.classifiers.file import ClassifierError
from classifier.contract.classifiers.folder import check_name
from classifier.contract.request.query import Question
from classifier.contract.strict_json import JsonObject
from tools.arguments import MakeParser, add_shared, single_name, split
from tools.bundles import announced, choose
from tools.evaluate.classifier_file import (
    Candidate,
    deploy_command,
    from_options,
    open_classifier,
    save,
    unsaved,
)
from tools.evaluate.dataset import gather
from tools.evaluate.embeddings import CACHE, Cache
from tools.evaluate.judging.goals import GoalsError, ThresholdGoals
from tools.evaluate.judging.judgement import Judgement, judge
from tools.evaluate.labelled import ImagesError
from tools.evaluate.report.data import report_data
from tools.evaluate.report.page import write_report
from tools.evaluate.report.text import never_named, text_of
from tools.evaluate.scores import Bundle, Source
from tools.evaluate.side_by_side import compare, two
from tools.heic import take_heic
from tools.workers import path_of

REPORT = Path("build/report.html")
FIELDS = ("templates", "multi_label", "negative_template", "fit")
WHAT = 'CLASSIFIER=name, or LABELS="a dog,a cat".'
REPEAT = "may be repeated"
# Of images sent to an endpoint, in pixels: more than twice the 224 of a side that CLIP sees.
SHORT_SIDE = 512


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `make evaluate` and `make learn`."""
    add = parser.add_argument
    add(
        "pictures",
        type=Path,
        help="a folder with a folder for each label, or a CSV file of path,label[;label…][,group]",
    )
    add("--classifier", metavar="NAME", help="a file in the folder classifiers, or a path to .json")
    add("--labels", type=split, default=[], help='instead of a classifier: "a dog,a cat"')
    add("--label", action="append", default=[], help=f"a label, may have commas; {REPEAT}")
    add("--templates", action="append", help=f'with labels: such as "a photo of {{}}"; {REPEAT}')
    add(
        "--multi-label",
        action="store_true",
        default=None,
        help="with labels: an image may show several",
    )
    add("--negative-template", help="with --multi-label: the prompt that stands for absence")
    add(
        "--fit",
        choices=("crop", "pad", "squash", "tiles"),
        help="with labels: how to make an image square",
    )
    add("--against", metavar="NAME", help="another classifier of the same labels, to compare with")
    add(
        "--prevalence",
        action="append",
        default=[],
        metavar="NAME=0.01",
        help=f"how common a label is where the classifier will be used; {REPEAT}",
    )
    add("--precision", type=float, metavar="0.95", help="guarantee at least this precision")
    add("--recall", type=float, metavar="0.9", help="guarantee at least this recall")
    add(
        "--false-alarms",
        type=float,
        metavar="0.01",
        help="guarantee at most this share of false alarms among images without the label",
    )
    add(
        "--cost",
        metavar="miss=10,alarm=1",
        help="no guarantee: the thresholds of the least cost on these images",
    )
    add(
        "--for",
        dest="names",
        action="append",
        metavar="NAME",
        help=f"make thresholds for this label alone; {REPEAT}",
    )
    add("--actions", type=split, help="with two guarantees, mildest first: review,block")
    add(
        "--save",
        nargs="?",
        const="",
        metavar="NAME",
        help="write thresholds into the classifier's file; with labels, into a new one",
    )
    add("--report", type=Path, default=REPORT, help=f"default: {REPORT}")
    add("--cache", type=Path, default=CACHE, help=f"of embeddings; default: {CACHE}")


def chosen(given: argparse.Namespace) -> Candidate:
    """Raises ClassifierError."""
    labels = [*given.labels, *given.label]
    options: JsonObject = {
        name: getattr(given, name) for name in FIELDS if getattr(given, name) is not None
    }
    if bool(given.classifier) == bool(labels):
        raise ClassifierError(f"{'Give only one' if labels else 'Say what to judge'}: {WHAT}")
    if not given.classifier:
        return from_options({"labels": labels, **options})
    if options:
        option = next(iter(options)).replace("_", "-")
        raise ClassifierError(f"--{option} goes with labels; a classifier's file has its own.")
    return open_classifier(given.classifier)


def target(given: argparse.Namespace, candidate: Candidate) -> Path | None:
    """The file to save into, if any. Raises ClassifierError."""
    if given.save is None:
        return None
    if candidate.path:
        if given.save and path_of(given.save) != candidate.path:
            raise ClassifierError(f"--save writes into {candidate.path}; leave {given.save} out.")
        return candidate.path
    if not given.save:
        raise ClassifierError("--save needs a name for the new classifier: --save my-labels.")
    check_name(path := path_of(given.save))
    if path.exists():
        raise ClassifierError(
            f"{path} exists. To write into it, name it instead of the labels and save without a "
            f"name: CLASSIFIER={path.stem} OPTIONS=--save. To keep it, save under another name."
        )
    return path


def run(given: argparse.Namespace, open_source: Callable[[], Source]) -> None:
    """Judges, prints, writes the report, and saves if asked to. Exits with an error's message."""
    try:
        candidates = [chosen(given)]
        if note := single_name(Question.of(candidates[0].file)):
            print(note, file=sys.stderr)
        if given.against:
            candidates.append(open_classifier(given.against))
        path = target(given, candidates[0])
        goals = ThresholdGoals.of(given, candidates[0])
        if folders := two(given):
            _show(compare(given, candidates[0], folders), given.report)
            return
        source = open_source()
        with Cache(given.cache) as cache:
            dataset = gather(source, given.pictures, candidates, cache, given.exclude)
        judgement = judge(dataset, goals, source.manifest)
        _show(judgement, given.report)
        if path:
            _save(judgement.changes(), candidates[0], path, source)
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. The same command goes on where it was.")
    except (OSError, BundleError, ClassifierError, ImagesError, GoalsError) as err:
        sys.exit(f"error: {err}")


def _show(judgement: Judgement, report: Path) -> None:
    print(text_of(judgement))
    write_report(report, report_data(judgement))
    print(f"\nReport: {report}")


def _save(changes: JsonObject | None, candidate: Candidate, path: Path, source: Source) -> None:
    if changes is None:
        sys.exit(
            f"Nothing is saved: no threshold keeps its guarantee on these images. {unsaved(path)}"
        )
    if gone := sorted((candidate.file.thresholds or {}).keys() - changes["thresholds"].keys()):
        print(f"Removed from {path}, since none was fitted now: thresholds of {', '.join(gone)}.")
    save(candidate, path, changes, source.manifest)
    print(saved(path, source))


def saved(path: Path, source: Source) -> str:
    """Says what was saved, which labels its decisions can never name, and how to deploy it."""
    missing = without_threshold(open_classifier(str(path)).file)
    text = f"Saved: {path}" + (f". {never_named(missing)}" if missing else "")
    command = deploy_command(path, source.manifest)
    return text + (f"\nTo deploy it: {command}" if command else "")


def run_with_source(
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None,
    run: Callable[[argparse.Namespace, Callable[[], Source]], None],
) -> None:
    """With a bundle of this machine, or an endpoint."""
    add_shared(parser)
    parser.add_argument(
        "--endpoint", metavar="URL", help="a deployment that embeds the images, instead of a bundle"
    )
    parser.add_argument(
        "--api-key", default=os.environ.get("CLIP_API_KEY"), help="default: CLIP_API_KEY"
    )
    parser.add_argument(
        "--short-side",
        type=int,
        default=SHORT_SIDE,
        help=f"in pixels: large images are sent at this size; default: {SHORT_SIDE}",
    )
    given = parser.parse_args(argv)
    if given.heic:
        take_heic()
    run(given, lambda: open_source(given))


def open_source(given: argparse.Namespace) -> Source:
    """Raises BundleError."""
    if not given.endpoint:
        return Bundle(announced(choose(given.bundle)), given.processes)
    # The examples' client, which a bundle doesn't need.
    from tools.evaluate.endpoint import Deployed

    return Deployed(given.endpoint, given.api_key, given.short_side)


def main(argv: Sequence[str] | None = None) -> None:
    parser = MakeParser(prog="make evaluate", description=__doc__)
    add_arguments(parser)
    run_with_source(parser, argv, run)


if __name__ == "__main__":
    main()
