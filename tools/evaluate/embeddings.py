"""The embedding of each image, made once on all cores and kept in a local file."""

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from classifier.contract.bundle import BundleManifest
from classifier.contract.request.fields import Fit
from classifier.storage.items import Item
from tools.evaluate.copies import SIDE, Pixels, small_versions
from tools.workers import lines_of

CACHE = Path("build/embeddings.sqlite3")
# A file that was written so shortly before may be written again without another time of change.
SETTLED_NS = 2_000_000_000
READERS = 16
# Of files: what is lost at most when it is interrupted.
HASHED_AT_ONCE = 500
# Errors of the file itself, whoever reads it and whenever.
LASTING = ("invalid_image", "unsupported_media_type", "too_large")
TABLES = """
create table if not exists files (
  path blob primary key, size integer, mtime_ns integer, sha256 text
) without rowid;
create table if not exists small (sha256 text primary key, pixels blob) without rowid;
create table if not exists pictures (
  model text, sha256 text, embedding blob, error text, primary key (model, sha256)
) without rowid;
"""
# Another number whenever a file is decoded to other pixels: 2 since colours become sRGB.
DECODING = 2
# float32 [d], or why there is none.
Outcome = NDArray[np.float32] | str


class Cache:
    """Facts about files by their paths, and about images by their content and the model. Several
    programs may use one.
    """

    def __init__(self, path: Path = CACHE) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(path, timeout=60)
        self._database.executescript(TABLES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def hashes(self, paths: Sequence[Path]) -> tuple[dict[Path, str], dict[Path, str]]:
        """The sha256 of each file's content, and of the others why they can't be read. Reads what
        is new or has changed.
        """
        found, broken = dict[Path, str](), dict[Path, str]()
        with ThreadPoolExecutor(READERS) as readers:
            for start in range(0, len(paths), HASHED_AT_ONCE):
                some = paths[start : start + HASHED_AT_ONCE]
                rows = []
                for path, outcome in zip(
                    some, readers.map(_hash, some, map(self._known, some)), strict=True
                ):
                    if isinstance(outcome, OSError):
                        broken[path] = f"can't be read: {outcome.strerror}"
                        continue
                    found[path], state = outcome
                    if state is not None:
                        rows.append((os.fsencode(path.absolute()), *state, found[path]))
                with self._database:
                    self._database.executemany(
                        "insert or replace into files values (?, ?, ?, ?)", rows
                    )
        return found, broken

    def _known(self, path: Path) -> tuple[int, int, str] | None:
        query = "select size, mtime_ns, sha256 from files where path = ?"
        row: tuple[int, int, str] | None = self._database.execute(
            query, [os.fsencode(path.absolute())]
        ).fetchone()
        return row

    def load(self, model: str, contents: Iterable[str]) -> dict[str, Outcome]:
        """The known facts about images, by the sha256 of their content."""
        found: dict[str, Outcome] = {}
        for content in contents:
            query = "select embedding, error from pictures where model = ? and sha256 = ?"
            for embedding, error in self._database.execute(query, (model, content)):
                found[content] = error or np.frombuffer(embedding, "<f4").astype(np.float32)
        return found

    def small_versions(
        self, files: Mapping[str, Path], others: Iterable[str] = ()
    ) -> dict[str, Pixels]:
        """uint8 [SIDE, SIDE, 3] of each image by the sha256 of its content, made if it is new,
        without broken ones; and of `others` if they were made before.
        """
        found = dict[str, Pixels]()
        query = "select pixels from small where sha256 = ?"
        for content in {*files, *others}:
            for (pixels,) in self._database.execute(query, [content]):
                found[content] = np.frombuffer(pixels, np.uint8).reshape(SIDE, SIDE, 3)
        contents = [content for content in files if content not in found]
        for start in range(0, len(contents), HASHED_AT_ONCE):
            new = small_versions(
                {content: files[content] for content in contents[start : start + HASHED_AT_ONCE]}
            )
            found |= new
            with self._database:
                rows = [(content, pixels.tobytes()) for content, pixels in new.items()]
                self._database.executemany("insert or replace into small values (?, ?)", rows)
        return found

    def store(self, model: str, outcomes: Mapping[str, Outcome]) -> None:
        rows = [
            (
                (model, content, None, outcome)
                if isinstance(outcome, str)
                else (model, content, outcome.astype("<f4").tobytes(), None)
            )
            for content, outcome in outcomes.items()
        ]
        with self._database:
            self._database.executemany("insert or replace into pictures values (?, ?, ?, ?)", rows)


def _hash(
    path: Path, known: tuple[int, int, str] | None
) -> tuple[str, tuple[int, int] | None] | OSError:
    """The sha256 of a file, and the size and time of change to remember it by, if it isn't known
    already and is settled.
    """
    try:
        found = path.stat()
        state = (found.st_size, found.st_mtime_ns)
        if known and known[:2] == state:
            return known[2], None
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        return content, state if time.time_ns() - found.st_mtime_ns > SETTLED_NS else None
    except OSError as err:
        return err


def cache_key(manifest: BundleManifest, fit: Fit | None) -> str:
    """Everything that an embedding depends on, apart from the image."""
    settings = manifest.image.model_dump(exclude={"max_batch"})
    return json.dumps([manifest.fingerprint, settings, fit, DECODING], sort_keys=True)


def embed(
    bundle: Path,
    manifest: BundleManifest,
    fit: Fit | None,
    files: Mapping[str, Path],
    cache: Cache,
    processes: int,
) -> dict[str, Outcome]:
    """The embedding of each image, or why it has none, by the sha256 of its content. Finished
    embeddings are kept if it is interrupted.

    `files`: one file for each content.
    """
    key = cache_key(manifest, fit)
    outcomes = cache.load(key, files)
    items = [
        Item(str(path.absolute()), content, path.stat().st_size)
        for content, path in files.items()
        if content not in outcomes
    ]
    # A label, since a request has one; a single one is the cheapest.
    options = {"labels": ["a"], "embedding": True} | ({"fit": fit} if fit else {})
    with tqdm(total=len(files), initial=len(outcomes), unit="image", disable=not items) as bar:
        for lines in lines_of(bundle, Path(), options, items, processes):
            new = dict(map(_outcome, lines))
            cache.store(
                key, {content: outcome for content, (outcome, lasts) in new.items() if lasts}
            )
            outcomes |= {content: outcome for content, (outcome, _) in new.items()}
            bar.update(len(lines))
    return outcomes


def _outcome(line: str) -> tuple[str, tuple[Outcome, bool]]:
    """An image's sha256, its outcome, and whether that will be the same the next time."""
    value = json.loads(line)
    if "embedding" in value:
        return value["etag"], (np.array(value["embedding"], np.float32), True)
    if "skipped" in value:
        return value["etag"], (f"is passed over: {value['skipped']}", False)
    return value["etag"], (value["error"]["message"], value["error"]["code"] in LASTING)
