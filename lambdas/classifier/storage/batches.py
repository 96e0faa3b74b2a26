"""A batch of pictures from a store to lines of results: what the bulk function and the local tool
share.
"""

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import TypeVar

from classifier.contract.errors import ApiError
from classifier.contract.parsing import parse_options
from classifier.contract.query import Query
from classifier.contract.strict_json import JsonObject
from classifier.engine.context import RequestContext
from classifier.engine.engine import Engine
from classifier.storage.items import Item, Store

T = TypeVar("T")
# How many pictures share a request to the classifier; docs/bulk.md has the measurement.
IMAGES_A_RUN = 8
READERS = 16
# The most bytes of files that a batch holds at a time, read and being read; one larger file is held
# alone.
MAX_HELD_BYTES = 64_000_000


Outcome = JsonObject | Exception


def check(classifier: Engine, options: JsonObject, context: RequestContext) -> Query:
    """The request that the options make, answered once for a picture of one pixel: so every error
    of labels, templates and sizes comes here.

    Raises ApiError.
    """
    parsed = parse_options(options)
    classifier.answer(parsed, context)
    return parsed


def batch_name(items: Iterable[Item]) -> str:
    """The same for the same keys and ETags, so that a batch done twice is written once."""
    text = "\n".join(sorted(json.dumps(item.identity) for item in items))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def classify_batch(
    classifier: Engine,
    model: str,
    parsed: Query,
    items: Sequence[Item],
    store: Store,
    *,
    remaining_ms: Callable[[], int],
    images_a_run: int = IMAGES_A_RUN,
) -> list[tuple[Item, Outcome]]:
    """One outcome for each item, in order: its line, or the exception where the store failed.

    A bad picture is a line with its error. Reading goes on while pictures are classified, within
    MAX_HELD_BYTES.
    """
    outcomes: dict[int, tuple[Item, Outcome]] = {}
    with ThreadPoolExecutor(READERS) as readers:
        pending: deque[tuple[int, Item]] = deque()
        for index, (item, found) in enumerate(
            zip(items, readers.map(_stat, [store] * len(items), items), strict=True)
        ):
            if isinstance(found, Exception):
                outcomes[index] = item, _outcome(item, model, found)
            elif reason := store.skip_reason(found):
                outcomes[index] = found, _line(found, model, {"skipped": reason})
            else:
                pending.append((index, found))
        reading: dict[Future[tuple[Item, bytes] | Exception], tuple[int, Item]] = {}
        ready: list[tuple[int, Item, bytes]] = []
        held = 0

        # Functions, so that no name here keeps a file in memory once it is done with.
        def take(future: Future[tuple[Item, bytes] | Exception]) -> int:
            """How many more bytes are held than was thought: what was read may have replaced what
            was listed.
            """
            index, item = reading.pop(future)
            found = future.result()
            if isinstance(found, Exception):
                outcomes[index] = item, _outcome(item, model, found)
                return -(item.size or 0)
            ready.append((index, *found))
            return len(found[1]) - (item.size or 0)

        def classify() -> int:
            """How many bytes are no longer held."""
            group = [ready.pop(0) for _ in range(min(images_a_run, len(ready)))]
            answers = _answers(
                classifier, parsed, [data for _, _, data in group], RequestContext(remaining_ms)
            )
            outcomes.update(
                (index, (item, _line(item, model, answer)))
                for (index, item, _), answer in zip(group, answers, strict=True)
            )
            return sum(len(data) for _, _, data in group)

        while pending or reading or ready:
            while (
                pending
                and len(reading) < READERS
                and (not held or held + (pending[0][1].size or 0) <= MAX_HELD_BYTES)
            ):
                index, item = pending.popleft()
                held += item.size or 0
                reading[readers.submit(_read, store, item)] = index, item
            if reading and len(ready) < images_a_run:
                held += sum(map(take, wait(reading, return_when=FIRST_COMPLETED)[0]))
            else:
                held -= classify()
    return [outcomes[index] for index in range(len(items))]


def _answers(
    classifier: Engine, parsed: Query, files: list[bytes], context: RequestContext
) -> list[JsonObject]:
    """Pictures that are too many for one request, by their pixels or by the answer's size, are
    halved until they fit.
    """
    try:
        answers: list[JsonObject] = classifier.answer(replace(parsed, images=files), context)[
            "results"
        ]
        return answers
    except ApiError as err:
        if len(files) > 1 and err.code in ("too_large", "answer_too_large"):
            middle = len(files) // 2
            return [
                answer
                for half in (files[:middle], files[middle:])
                for answer in _answers(classifier, parsed, half, context)
            ]
        return [_error(err)] * len(files)


def _stat(store: Store, item: Item) -> Item | Exception:
    if item.size is not None or store.skip_reason(item):
        return item
    return _captured(lambda: store.stat(item))


def _read(store: Store, item: Item) -> tuple[Item, bytes] | Exception:
    return _captured(lambda: store.read(item))


def _captured(function: Callable[[], T]) -> T | Exception:
    try:
        return function()
    except Exception as err:
        return err


def _outcome(item: Item, model: str, err: Exception) -> Outcome:
    return _line(item, model, _error(err)) if isinstance(err, ApiError) else err


def _error(err: ApiError) -> JsonObject:
    return {"error": err.body()}


def _line(item: Item, model: str, outcome: JsonObject) -> JsonObject:
    """`model` is the model's name in every line; what `details` says of the model goes by another
    name.
    """
    version = {"version_id": item.version} if item.version else {}
    if "error" in outcome:
        # Its field is the place in a request that the caller never saw.
        outcome = {
            "error": {name: text for name, text in outcome["error"].items() if name != "field"}
        }
    outcome = {
        "model_details" if name == "model" else name: value for name, value in outcome.items()
    }
    return {
        "key": item.key,
        "etag": item.etag,
        "size": item.size,
        **version,
        "model": model,
        **outcome,
    }


def dumps(line: JsonObject) -> str:
    """One line of JSON Lines, its end included. A key or a message may hold half of a surrogate
    pair, which UTF-8 can't.
    """
    return json.dumps(line, ensure_ascii=False).encode("utf-8", "replace").decode() + "\n"
