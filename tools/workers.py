"""Lines of results for the files of a folder, on all cores, with the bulk function's own code."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

from classifier.contract.classifiers.folder import FOLDER, read_classifiers
from classifier.contract.errors import ApiError
from classifier.contract.request.parsing import parse_options
from classifier.contract.request.query import Query
from classifier.contract.strict_json import JsonObject
from classifier.engine.engine import Engine
from classifier.images.formats import format_of
from classifier.model.encoders import Encoders
from classifier.storage.batches import Batch
from classifier.storage.items import Item, wrong_size
from classifier.storage.lines import dumps
from tools.folders import first_bytes, no_image, progress
from tools.heic import take_heic_as_the_parent_does
from tools.results import SKIPPED, UNSUPPORTED

BATCH = 40
CLASSIFIERS = Path(FOLDER)


def path_of(name: str) -> Path:
    """A classifier's name stands for a file in the folder of classifiers, unless it ends in
    .json.
    """
    return Path(name).expanduser() if name.endswith(".json") else CLASSIFIERS / f"{name}.json"


def unlimited() -> int:
    """A batch on this machine has no deadline."""
    return 3_600_000


class FolderStore:
    """Keys are paths below a folder. The ETag tells a file that has changed since, without reading
    it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def skip_reason(self, item: Item) -> str | None:
        return wrong_size(item) or no_image(self.root / item.key)

    def is_taken_now(self, item: Item, outcome: str) -> bool:
        """Whether an earlier run that didn't take HEIC has left out what this one takes."""
        if outcome not in (SKIPPED, UNSUPPORTED) or self.skip_reason(item):
            return False
        start = first_bytes(self.root / item.key)
        return outcome == SKIPPED or bool(start and format_of(start))

    def stat(self, item: Item) -> Item:
        found = (self.root / item.key).stat()
        return Item(item.key, f"{found.st_mtime_ns:x}-{found.st_size:x}", found.st_size)

    def read(self, item: Item) -> tuple[Item, bytes]:
        try:
            return item, (self.root / item.key).read_bytes()
        except OSError as err:
            raise ApiError(404, "not_found", f"The file can't be read: {err.strerror}.") from err

    def items(self, paths: Iterable[Path]) -> Iterator[Item]:
        for path in progress(paths, "Looking for changed files"):
            # A file may be gone meanwhile.
            with suppress(OSError):
                yield self.stat(Item(path.relative_to(self.root).as_posix()))


def classifier_of(encoders: Encoders, query: Query, folder: Path = CLASSIFIERS) -> Engine:
    """With the classifier of this folder that the request names, if any. Raises
    ClassifierError.
    """
    name = query.classifier
    return Engine(encoders, read_classifiers(folder, encoders.manifest, [name]) if name else None)


class Worker:
    """One process: its own model, on one core, and its own decoder."""

    here: "Worker"

    def __init__(self, bundle: Path, folder: Path, query: Query, classifiers: Path) -> None:
        self.encoders = Encoders.load(bundle, threads=1)
        self.classifier = classifier_of(self.encoders, query, classifiers)
        self.folder = FolderStore(folder)
        self.query = query

    def lines(self, items: Sequence[Item]) -> list[str]:
        model = self.encoders.manifest.name
        batch = Batch(self.classifier, model, self.query, items, self.folder, unlimited)
        return [dumps(outcome.line_or_raise()) for outcome in batch.classify()]


def begin(bundle: Path, folder: Path, options: JsonObject, classifiers: Path) -> None:
    take_heic_as_the_parent_does()
    Worker.here = Worker(bundle, folder, parse_options(options), classifiers)


def work(items: Sequence[Item]) -> list[str]:
    return Worker.here.lines(items)


def lines_of(
    bundle: Path,
    folder: Path,
    options: JsonObject,
    items: Sequence[Item],
    processes: int,
    classifiers: Path = CLASSIFIERS,
) -> Iterator[list[str]]:
    """Yields the lines of each batch as soon as one of the processes has finished it. A single
    process is this one.
    """
    if not items:
        return
    some = [items[start : start + BATCH] for start in range(0, len(items), BATCH)]
    processes = min(processes, len(some))
    if processes == 1:
        worker = Worker(bundle, folder, parse_options(options), classifiers)
        yield from map(worker.lines, some)
        return
    batches = iter(some)
    # Linux would fork a process with threads; the other systems start new ones anyway.
    given = (bundle, folder, options, classifiers)
    pool = ProcessPoolExecutor(processes, get_context("spawn"), begin, given)
    with pool:
        running = set[Future[list[str]]]()
        try:
            while True:
                # Enough that no process waits, and no more.
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
