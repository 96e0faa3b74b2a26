"""Judges a classifier on labelled pictures: tables with intervals, thresholds that keep their promise, and a report to look at."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from classifier.contract.bundle import BundleError
from classifier.contract.classifier_file import ClassifierError
from classifier.contract.strict_json import JsonObject
from tools.bundles import BUNDLE_HELP, announced, choose
from tools.evaluate.classifier_file import Judged, from_options, open_classifier, path_of, save
from tools.evaluate.dataset import gather
from tools.evaluate.embeddings import CACHE, Cache
from tools.evaluate.judging.goals import Wanted, WantedError
from tools.evaluate.judging.judgement import judge
from tools.evaluate.pictures import PicturesError
from tools.evaluate.report.page import write_report
from tools.evaluate.scores import Bundle, Source
from tools.heic import HELP, take_heic

REPORT = Path("build/report.html")
FIELDS = ("templates", "multi_label", "negative_template", "fit")
WHAT = 'Say what to judge: CLASSIFIER=name, or LABELS="a dog,a cat".'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `make evaluate` and examples/evaluate.py have in common."""
    parser.add_argument(
        "pictures", type=Path, help="a folder with a folder for each label, or a CSV file of path,label[;label…][,group]"
    )
    parser.add_argument("--classifier", metavar="NAME", help="a file in the folder classifiers, or a path that ends in .json")
    parser.add_argument("--labels", type=_split, default=[], help='instead of it: "a dog,a cat"')
    parser.add_argument("--label", action="append", default=[], help="one label, which may contain commas; repeat for several")
    parser.add_argument("--templates", action="append", help='with labels, such as "a photo of {}"; repeat for several')
    parser.add_argument("--multi-label", action="store_true", default=None, help="with labels: a picture may show several")
    parser.add_argument("--negative-template", help="with --multi-label: what stands for absence")
    parser.add_argument("--fit", choices=("crop", "pad", "squash", "tiles"), help="with labels: how to make a picture square")
    parser.add_argument("--against", metavar="NAME", help="another classifier of the same names, to compare with")
    parser.add_argument(
        "--prevalence", action="append", default=[], metavar="NAME=0.01", help="how common a name is where it will be used"
    )
    parser.add_argument("--precision", type=float, metavar="0.95", help="promise: so many of those that count show it")
    parser.add_argument("--recall", type=float, metavar="0.9", help="promise: so many of those that show it count")
    parser.add_argument(
        "--false-alarms", type=float, metavar="0.01", help="promise: at most so many of those that don't show it count"
    )
    parser.add_argument("--cost", metavar="miss=10,alarm=1", help="no promise: the threshold that would have cost least here")
    parser.add_argument(
        "--for", dest="names", action="append", metavar="NAME", help="make thresholds for this name alone; may be repeated"
    )
    parser.add_argument("--actions", type=_split, help="with two promises, mildest first: review,block")
    parser.add_argument(
        "--save",
        nargs="?",
        const="",
        metavar="NAME",
        help="write thresholds into the classifier's file; with labels, into a new one",
    )
    parser.add_argument(
        "--exclude", action="append", default=[], metavar="PATTERN", help='pass over files and folders such as "*.gif"; may be repeated'
    )
    parser.add_argument("--report", type=Path, default=REPORT, help=f"default: {REPORT}")
    parser.add_argument("--cache", type=Path, default=CACHE, help=f"where embeddings are kept; default: {CACHE}")


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def chosen(given: argparse.Namespace) -> Judged:
    """Raises ClassifierError."""
    labels = [*given.labels, *given.label]
    options: JsonObject = {name: getattr(given, name) for name in FIELDS if getattr(given, name) is not None}
    if bool(given.classifier) == bool(labels):
        raise ClassifierError(WHAT)
    if given.classifier and options:
        raise ClassifierError(f"--{next(iter(options)).replace('_', '-')} goes with labels; a classifier's file has its own.")
    return open_classifier(given.classifier) if given.classifier else from_options({"labels": labels, **options})


def target(given: argparse.Namespace, judged: Judged) -> Path | None:
    """Where to save, if at all. Raises ClassifierError."""
    if given.save is None:
        return None
    if judged.path:
        if given.save and path_of(given.save) != judged.path:
            raise ClassifierError(f"--save writes into {judged.path}; leave {given.save} out.")
        return judged.path
    if not given.save:
        raise ClassifierError("--save needs a name for the new classifier: --save my-labels.")
    if (path := path_of(given.save)).exists():
        raise ClassifierError(f"{path} exists; judge it with CLASSIFIER={path.stem}, or save under another name.")
    return path


def run(given: argparse.Namespace, open_source: Callable[[], Source]) -> None:
    """Judges, prints, writes the report, and saves if asked to. Exits with a message for what can't be done."""
    try:
        judged = [chosen(given), *([open_classifier(given.against)] if given.against else [])]
        path = target(given, judged[0])
        wanted = Wanted.of(given, judged[0])
        source = open_source()
        with Cache(given.cache) as cache:
            material = gather(source, given.pictures, judged, cache, given.exclude)
        judgement = judge(material, wanted, source.manifest)
        print(judgement.text())
        write_report(given.report, judgement.report())
        print(f"\nReport: {given.report}")
        if path:
            _save(judgement.changes(), judged[0], path, source)
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. The same command goes on where it was.")
    except (OSError, BundleError, ClassifierError, PicturesError, WantedError) as err:
        sys.exit(f"error: {err}")


def _save(changes: JsonObject | None, judged: Judged, path: Path, source: Source) -> None:
    if changes is None:
        sys.exit(f"Nothing is saved: no threshold keeps its promise on these pictures. {path} stays as it was.")
    if gone := sorted((judged.file.thresholds or {}).keys() - changes["thresholds"].keys()):
        print(f"Gone from {path}, since none was fitted for them now: the thresholds of {', '.join(gone)}.")
    save(judged, path, changes, source.manifest)
    print(f"Saved: {path}")


def run_locally(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None, run: Callable[[argparse.Namespace, Callable[[], Source]], None]
) -> None:
    """With a bundle of this machine."""
    parser.add_argument("--bundle", type=Path, help=BUNDLE_HELP)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser.add_argument("--processes", type=int, default=cores, help=f"default: the cores of this machine, {cores}")
    parser.add_argument("--heic", action="store_true", help=HELP)
    given = parser.parse_args(argv)
    if given.heic:
        take_heic()
    run(given, lambda: Bundle(announced(choose(given.bundle)), given.processes))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="make evaluate", description=__doc__)
    add_arguments(parser)
    run_locally(parser, argv, run)


if __name__ == "__main__":
    main()
