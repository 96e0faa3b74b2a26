"""Classifies a folder of pictures on all cores, with the bulk function's own code: lines of
results, or a Parquet file.
"""

import argparse
import importlib.util
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

from tqdm import tqdm

from classifier.contract.bundle import BundleError
from classifier.contract.classifiers.file import ClassifierError
from classifier.contract.classifiers.folder import FOLDER, read_classifiers
from classifier.contract.errors import ApiError
from classifier.contract.request.parsing import parse_options
from classifier.contract.request.query import Query
from classifier.contract.strict_json import JsonObject
from classifier.engine.context import RequestContext
from classifier.engine.engine import Engine
from classifier.model.encoders import Encoders
from classifier.storage.batches import Batch, check
from classifier.storage.items import Item, wrong_size
from classifier.storage.lines import dumps
from tools.bundles import BUNDLE_HELP, announced, choose
from tools.folders import Folder, no_picture
from tools.folders import summary as counted
from tools.heic import HELP, take_heic, take_heic_as_the_parent_does
from tools.parquet import write_parquet

BATCH = 40
CLASSIFIERS = Path(FOLDER)


def unlimited() -> int:
    """A batch on a desk has all the time it takes."""
    return 3_600_000


class FolderStore:
    """Keys are paths below a folder. The ETag tells a file that has changed since, without reading
    it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def skip_reason(self, item: Item) -> str | None:
        return wrong_size(item) or no_picture(self.root / item.key)

    def stat(self, item: Item) -> Item:
        found = (self.root / item.key).stat()
        return Item(item.key, f"{found.st_mtime_ns:x}-{found.st_size:x}", found.st_size)

    def read(self, item: Item) -> tuple[Item, bytes]:
        try:
            return item, (self.root / item.key).read_bytes()
        except OSError as err:
            raise ApiError(404, "not_found", f"The file can't be read: {err.strerror}.") from err

    def items(self, paths: Iterable[Path]) -> Iterator[Item]:
        for path in paths:
            # A file may be gone meanwhile.
            with suppress(OSError):
                yield self.stat(Item(path.relative_to(self.root).as_posix()))


def classifier_of(encoders: Encoders, query: Query) -> Engine:
    """With the classifier that the request names, if any. Raises ClassifierError."""
    name = query.classifier
    return Engine(
        encoders, read_classifiers(CLASSIFIERS, encoders.manifest, [name]) if name else None
    )


class Worker:
    """One process: its own model, on one core, and its own decoder."""

    here: "Worker"

    def __init__(self, bundle: Path, folder: Path, query: Query) -> None:
        self.encoders = Encoders.load(bundle, threads=1)
        self.classifier = classifier_of(self.encoders, query)
        self.folder = FolderStore(folder)
        self.query = query

    def lines(self, items: Sequence[Item]) -> list[str]:
        model = self.encoders.manifest.name
        batch = Batch(self.classifier, model, self.query, items, self.folder, unlimited)
        return [dumps(outcome.line_or_raise()) for outcome in batch.classify()]


def begin(bundle: Path, folder: Path, options: JsonObject) -> None:
    take_heic_as_the_parent_does()
    Worker.here = Worker(bundle, folder, parse_options(options))


def work(items: Sequence[Item]) -> list[str]:
    return Worker.here.lines(items)


def lines_of(
    bundle: Path, folder: Path, options: JsonObject, items: Sequence[Item], processes: int
) -> Iterator[list[str]]:
    """A line for each item, a batch at a time, as batches get done on so many processes."""
    if not items:
        return
    batches = iter([items[start : start + BATCH] for start in range(0, len(items), BATCH)])
    # Linux would fork a process with threads; the other systems start new ones anyway.
    pool = ProcessPoolExecutor(
        min(processes, -(-len(items) // BATCH)),
        get_context("spawn"),
        begin,
        (bundle, folder, options),
    )
    with pool:
        running = set[Future[list[str]]]()
        try:
            while True:
                # So many that no process waits, and no more.
                while len(running) < 2 * processes and (batch := next(batches, None)):
                    running.add(pool.submit(work, batch))
                if not running:
                    break
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def finished(output: Path) -> set[tuple[str, str]]:
    """Key and ETag of every line; a line that was cut off is removed. Exits if a line is none of
    ours.
    """
    done = set[tuple[str, str]]()
    whole = 0
    if not output.exists():
        return done
    with output.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                break
            whole += len(line)
            try:
                value = json.loads(line)
                done.add((value["key"], value["etag"]))
            except (ValueError, KeyError, TypeError):
                sys.exit(f"{output}, line {number} is no result of ours. Name another OUTPUT.")
    os.truncate(output, whole)
    return done


def classify(
    bundle: Path,
    folder: Path,
    files: Sequence[Path],
    options: JsonObject,
    output: Path,
    processes: int,
) -> tuple[int, int]:
    """Appends a line for each file that has none; how many were there, and how many are new."""
    # The same rules for a name as in the lines.
    done = finished(output)
    items = list(FolderStore(folder).items(files))
    left = [
        item
        for item in items
        if (json.loads(dumps({"key": item.key}))["key"], item.etag) not in done
    ]
    with (
        output.open("a", encoding="utf-8") as file,
        tqdm(total=len(items), initial=len(items) - len(left), unit="image") as bar,
    ):
        for lines in lines_of(bundle, folder, options, left, processes):
            file.write("".join(lines))
            file.flush()
            bar.update(len(lines))
    return len(items) - len(left), len(left)


def check_request(output: Path, request: JsonObject) -> None:
    """Results of two requests never share a file."""
    beside = output.with_name(output.name + ".request.json")
    text = json.dumps(request, sort_keys=True)
    if output.exists() and beside.exists() and beside.read_text(encoding="utf-8") != text:
        sys.exit(
            f"{output} has results of other labels, options, another folder or model. Name another"
            " OUTPUT, or remove it."
        )
    beside.write_text(text, encoding="utf-8")


def summary(lines: Path) -> tuple[str, Counter[str]]:
    """What the lines hold, and why files were skipped."""
    counts = {"error": 0, "skipped": 0, "result": 0}
    skipped = Counter[str]()
    with lines.open(encoding="utf-8") as file:
        for line in file:
            value = json.loads(line)
            counts[next(kind for kind in counts if kind in value)] += 1
            skipped.update([value["skipped"]] if "skipped" in value else [])
    text = (
        f"{counts['result']:,} classified, {counts['error']:,} with an error, {counts['skipped']:,}"
        " skipped"
    )
    return text, skipped


def read_request(path: Path) -> JsonObject:
    """Raises ValueError for a file that holds no JSON object, and OSError."""
    try:
        request = json.loads(path.read_bytes())
    except ValueError as err:
        raise ValueError(f"{path} is not JSON in UTF-8 ({err})") from err
    if not isinstance(request, dict):
        raise ValueError(f'{path} must hold a JSON object: {{"labels": ["a dog", "a cat"]}}')
    return request


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", type=Path, help="a folder")
    parser.add_argument(
        "--labels",
        type=lambda text: [label.strip() for label in text.split(",")],
        help='"a dog,a cat"',
    )
    parser.add_argument("--classifier", help=f"the name of a file in the folder {CLASSIFIERS}")
    parser.add_argument(
        "--request",
        type=Path,
        help="a JSON file with labels, categories or classifier, and any other option of the API",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("results.jsonl"), help="….jsonl or ….parquet"
    )
    parser.add_argument("--bundle", type=Path, help=BUNDLE_HELP)
    parser.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="PATTERN",
        help='pass over files and folders such as "*.gif" or "2019/*"; may be repeated',
    )
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    parser.add_argument(
        "--processes", type=int, default=cores, help=f"default: the cores of this machine, {cores}"
    )
    parser.add_argument("--heic", action="store_true", help=HELP)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    given = arguments(argv)
    if given.heic:
        take_heic()
    if [given.labels, given.classifier, given.request].count(None) != 2:
        sys.exit(
            'Say what to look for: LABELS="a dog,a cat", CLASSIFIER=name, or REQUEST=file.json with'
            " any options of the API."
        )
    if not given.pictures.is_dir():
        sys.exit(f"{given.pictures} is no folder.")
    if given.output.suffix not in (".jsonl", ".parquet"):
        sys.exit(f"OUTPUT={given.output} must end in .jsonl or .parquet.")
    parquet = given.output.suffix == ".parquet"
    if parquet and importlib.util.find_spec("pyarrow") is None:
        sys.exit(
            "Parquet needs pyarrow: .venv/bin/pip install pyarrow==26.0.1; or name a file that ends"
            " in .jsonl."
        )
    try:
        options = {
            name: getattr(given, name) for name in ("labels", "classifier") if getattr(given, name)
        }
        options |= read_request(given.request) if given.request else {}
        bundle = announced(choose(given.bundle))
        encoders = Encoders.load(bundle, threads=1, verify_hashes=True)
        classifier = classifier_of(encoders, parse_options(options))
        check(classifier, options, RequestContext(unlimited))
    except (OSError, ValueError, BundleError, ClassifierError) as err:
        sys.exit(f"error: {err}")
    except ApiError as err:
        sys.exit(f"error: {err.message}")
    folder = Folder(given.pictures, given.exclude)
    files = folder.files()
    if not any(no_picture(path) is None for path in files):
        passed_over = folder.passed_over + Counter(filter(None, map(no_picture, files)))
        sys.exit(f"There is no picture in {given.pictures}. {counted(passed_over)}".rstrip())
    lines = given.output.with_name(given.output.name + ".jsonl") if parquet else given.output
    model = encoders.manifest.files["image.onnx"].sha256
    asked = {"folder": str(given.pictures.resolve()), "model": model, "request": options}
    if name := options.get("classifier"):
        asked["classifier"] = classifier.registry.find(name).file.model_dump(mode="json")
    try:
        lines.parent.mkdir(parents=True, exist_ok=True)
        check_request(lines, asked)
        before, new = classify(bundle, given.pictures, files, options, lines, given.processes)
        text, skipped = summary(lines)
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. The same command goes on where it was.")
    except OSError as err:
        sys.exit(f"error: {err}")
    print(f"{given.output}: {text}; {new:,} of them now, {before:,} before.")
    if passed_over := folder.passed_over + skipped:
        print(counted(passed_over))
    if parquet:
        write_parquet(lines, given.output)


if __name__ == "__main__":
    main()
