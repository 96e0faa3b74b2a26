"""A batch of images from a store to lines of results, for the bulk function and the local tool."""

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace

from classifier.contract.errors import ApiError
from classifier.contract.request.parsing import parse_options
from classifier.contract.request.query import Query
from classifier.contract.strict_json import JsonObject
from classifier.engine.context import RequestContext
from classifier.engine.engine import Engine
from classifier.storage.items import Item, Store
from classifier.storage.lines import error_answer, make_line

# The number of images that share a request to the engine; docs/bulk.md has the measurement.
IMAGES_A_RUN = 8
READERS = 16
# The bytes of files that a batch holds at a time, read and being read. A larger file is held alone.
MAX_HELD_BYTES = 64_000_000


def check(engine: Engine, options: JsonObject, context: RequestContext) -> Query:
    """The query that the options make. It is answered once for an image of one pixel, so that every
    error about labels, templates and sizes is raised here.

    Raises ApiError.
    """
    query = parse_options(options)
    engine.answer(query, context)
    return query


def batch_name(items: Iterable[Item]) -> str:
    """The same for the same keys and ETags, so that a batch done twice is written once."""
    text = "\n".join(sorted(json.dumps(item.identity) for item in items))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


@dataclass(frozen=True)
class Outcome:
    """The item as it was read, and its line, or the failure of the store."""

    item: Item
    line: JsonObject = field(default_factory=dict)
    failure: Exception | None = None

    def line_or_raise(self) -> JsonObject:
        """Raises the failure, if there is one."""
        if self.failure:
            raise self.failure
        return self.line


class ByteBudget:
    """The bytes of the files that are held or being read."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0

    def allows(self, size: int) -> bool:
        """One file is allowed in any case."""
        return not self._held or self._held + size <= self._limit

    def add(self, size: int) -> None:
        self._held += size

    def release(self, size: int) -> None:
        self._held -= size


@dataclass
class Batch:
    """Items on their way to outcomes. An image that can't be classified is a line with its error.

    Reading goes on while images are classified, within MAX_HELD_BYTES. So no variable here may keep
    a file that is classified. `model` is the model's name in each line.
    """

    engine: Engine
    model: str
    query: Query
    items: Sequence[Item]
    store: Store
    remaining_ms: Callable[[], int]
    images_a_run: int = IMAGES_A_RUN
    _budget: ByteBudget = field(default_factory=lambda: ByteBudget(MAX_HELD_BYTES), init=False)
    _outcomes: dict[int, Outcome] = field(default_factory=dict, init=False)
    _pending: deque[tuple[int, Item]] = field(default_factory=deque, init=False)
    _reading: dict[Future[tuple[Item, bytes]], tuple[int, Item]] = field(
        default_factory=dict, init=False
    )
    _ready: deque[tuple[int, Item, bytes]] = field(default_factory=deque, init=False)

    def classify(self) -> list[Outcome]:
        """One outcome for each item, in order."""
        with ThreadPoolExecutor(READERS) as readers:
            self._look_up(readers)
            while self._pending or self._reading or self._ready:
                self._start_reading(readers)
                if self._reading and len(self._ready) < self.images_a_run:
                    self._take_files()
                else:
                    self._classify_files()
        return [self._outcomes[index] for index in range(len(self.items))]

    def _look_up(self, readers: ThreadPoolExecutor) -> None:
        futures = [readers.submit(self._stat, item) for item in self.items]
        for index, (item, future) in enumerate(zip(self.items, futures, strict=True)):
            if err := future.exception():
                self._fail(index, item, err)
                continue
            known = future.result()
            if reason := self.store.skip_reason(known):
                self._outcomes[index] = self._outcome(known, {"skipped": reason})
            else:
                self._pending.append((index, known))

    def _stat(self, item: Item) -> Item:
        return (
            item if item.size is not None or self.store.skip_reason(item) else self.store.stat(item)
        )

    def _start_reading(self, readers: ThreadPoolExecutor) -> None:
        while (
            self._pending
            and len(self._reading) < READERS
            and self._budget.allows(self._pending[0][1].size or 0)
        ):
            index, item = self._pending.popleft()
            self._budget.add(item.size or 0)
            self._reading[readers.submit(self.store.read, item)] = index, item

    def _take_files(self) -> None:
        """Waits until a file is there, or several."""
        for future in wait(self._reading, return_when=FIRST_COMPLETED).done:
            index, item = self._reading.pop(future)
            # The object may have been replaced since its size was listed.
            self._budget.release(item.size or 0)
            if err := future.exception():
                self._fail(index, item, err)
            else:
                found, data = future.result()
                self._budget.add(len(data))
                self._ready.append((index, found, data))

    def _classify_files(self) -> None:
        group = [self._ready.popleft() for _ in range(min(self.images_a_run, len(self._ready)))]
        files = [data for _, _, data in group]
        context = RequestContext(self.remaining_ms)
        answers = _answers(self.engine, self.query, files, context)
        for (index, item, data), answer in zip(group, answers, strict=True):
            self._outcomes[index] = self._outcome(item, answer)
            self._budget.release(len(data))

    def _fail(self, index: int, item: Item, err: BaseException) -> None:
        if isinstance(err, ApiError):
            self._outcomes[index] = self._outcome(item, error_answer(err))
        elif isinstance(err, Exception):
            self._outcomes[index] = Outcome(item, failure=err)
        else:
            raise err

    def _outcome(self, item: Item, answer: JsonObject) -> Outcome:
        return Outcome(item, make_line(item, self.model, answer))


def _answers(
    engine: Engine, query: Query, files: list[bytes], context: RequestContext
) -> list[JsonObject]:
    """Images that are too many for one request, by their pixels or by the answer's size, are halved
    until they fit.
    """
    try:
        results: list[JsonObject] = engine.answer(replace(query, images=files), context)["results"]
        return results
    except ApiError as err:
        if len(files) > 1 and err.code in ("too_large", "answer_too_large"):
            middle = len(files) // 2
            first = _answers(engine, query, files[:middle], context)
            return first + _answers(engine, query, files[middle:], context)
        return [error_answer(err)] * len(files)
