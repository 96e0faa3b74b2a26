"""Classifies a folder of images on all cores: lines of results, CSV or a Parquet file."""

import argparse
import importlib.util
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from classifier.contract.bundle import BundleError
from classifier.contract.classifiers.file import ClassifierError
from classifier.contract.classifiers.folder import check_name
from classifier.contract.errors import ApiError
from classifier.contract.request.parsing import parse_options
from classifier.contract.request.query import Question
from classifier.contract.strict_json import JsonObject, no_constant, no_duplicates
from classifier.engine.context import RequestContext
from classifier.model.encoders import Encoders
from classifier.storage.batches import check
from tools.arguments import MakeParser, add_shared, single_name, split
from tools.bundles import announced, choose
from tools.folders import Folder, no_image
from tools.folders import summary as counted
from tools.heic import take_heic
from tools.parquet import write_parquet
from tools.results import claimed, finished, summary, write_csv
from tools.workers import (
    CLASSIFIERS,
    FolderStore,
    classifier_of,
    lines_of,
    path_of,
    unlimited,
)

# What may be made of the lines, by the suffix of OUTPUT.
TABLES = {".csv": write_csv, ".parquet": write_parquet}


def classify(
    bundle: Path,
    folder: Path,
    files: Sequence[Path],
    options: JsonObject,
    output: Path,
    processes: int,
    classifiers: Path = CLASSIFIERS,
) -> int:
    """Appends a line for each file that has none. Returns their number."""
    done = finished(output)
    store = FolderStore(folder)
    items = list(store.items(files))
    left = [
        item
        for item in items
        if (outcome := done.get((item.key, item.etag or ""))) is None
        or store.is_taken_now(item, outcome)
    ]
    with (
        output.open("a", encoding="utf-8") as file,
        tqdm(total=len(items), initial=len(items) - len(left), unit="image") as bar,
    ):
        for lines in lines_of(bundle, folder, options, left, processes, classifiers):
            file.write("".join(lines))
            file.flush()
            bar.update(len(lines))
    return len(left)


def read_request(path: Path) -> JsonObject:
    """Raises ValueError for a file that holds no JSON object, ApiError for one with a key twice,
    and OSError.
    """
    try:
        request = json.loads(
            path.read_bytes(), object_pairs_hook=no_duplicates, parse_constant=no_constant
        )
    except (ValueError, RecursionError) as err:
        raise ValueError(f"{path} is not JSON in UTF-8 ({err})") from err
    if not isinstance(request, dict):
        raise ValueError(f'{path} must hold a JSON object: {{"labels": ["a dog", "a cat"]}}')
    return request


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = MakeParser(prog="make classify", description=__doc__)
    parser.add_argument("pictures", type=Path, help="a folder")
    parser.add_argument("--labels", type=split, help='"a dog,a cat"')
    parser.add_argument(
        "--classifier",
        type=path_of,
        metavar="NAME",
        help=f"a file in the folder {CLASSIFIERS}, or a path to .json",
    )
    parser.add_argument(
        "--request",
        type=Path,
        help="a JSON file with labels, categories or classifier, and any other option of the API",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("results.jsonl"), help="….jsonl, ….csv or ….parquet"
    )
    add_shared(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    given = arguments(argv)
    if given.heic:
        take_heic()
    named = [choice for choice in (given.labels, given.classifier, given.request) if choice]
    if len(named) != 1:
        sys.exit(
            f'{"Give only one" if named else "Say what to look for"}: LABELS="a dog,a cat",'
            " CLASSIFIER=name, or REQUEST=file.json with any options of the API."
        )
    if not given.pictures.is_dir():
        sys.exit(f"{given.pictures} is no folder.")
    kind = given.output.suffix
    if kind not in (".jsonl", *TABLES):
        sys.exit(f"OUTPUT={given.output} must end in .jsonl, {' or '.join(TABLES)}.")
    if kind == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        sys.exit(
            "Parquet needs pyarrow: .venv/bin/pip install pyarrow==26.0.1; or name a file that ends"
            " in .jsonl."
        )
    try:
        options: JsonObject = {"labels": given.labels} if given.labels else {}
        options |= read_request(given.request) if given.request else {}
        classifiers = CLASSIFIERS
        if given.classifier:
            check_name(given.classifier)
            options["classifier"] = given.classifier.stem
            classifiers = given.classifier.parent
        bundle = announced(choose(given.bundle))
        encoders = Encoders.load(bundle, threads=1, verify_hashes=True)
        query = parse_options(options)
        classifier = classifier_of(encoders, query, classifiers)
        check(classifier, options, RequestContext(unlimited))
    except (OSError, ValueError, BundleError, ClassifierError) as err:
        sys.exit(f"error: {err}")
    except ApiError as err:
        sys.exit(f"error: {err.message}")
    folder = Folder(given.pictures, given.exclude)
    files = folder.files()
    if not any(no_image(path) is None for path in files):
        passed_over = folder.passed_over + Counter(filter(None, map(no_image, files)))
        sys.exit(f"There is no image in {given.pictures}. {counted(passed_over)}".rstrip())
    lines = given.output.with_name(given.output.name + ".jsonl") if kind in TABLES else given.output
    asked = {
        "folder": str(given.pictures.resolve()),
        "model": encoders.manifest.fingerprint,
        "request": options,
    }
    if name := options.get("classifier"):
        file = classifier.registry.find(name).file
        asked["classifier"] = file.model_dump(mode="json")
    if note := single_name(Question.of(file) if name else query.question):
        print(note, file=sys.stderr)
    try:
        lines.parent.mkdir(parents=True, exist_ok=True)
        with claimed(lines, given.output, asked):
            new = classify(
                bundle, given.pictures, files, options, lines, given.processes, classifiers
            )
            print(f"{given.output}: {summary(lines, new)}")
            if folder.passed_over:
                print(counted(folder.passed_over))
            if kind in TABLES:
                TABLES[kind](lines, given.output)
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. The same command goes on where it was.")
    except OSError as err:
        sys.exit(f"error: {err}")


if __name__ == "__main__":
    main()
