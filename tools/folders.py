"""Finds the images below a folder, by one rule for all tools.

The examples, which stand alone, follow the same rule, and a bucket's keys follow that for folders.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from tqdm import tqdm

from classifier.images.formats import format_of
from classifier.storage.items import HEIC_SUFFIXES, hidden, is_taken

# The most bytes that tell a format: those of an AVIF with many brands.
START_BYTES = 128
EXCLUDED = "excluded"


@dataclass
class Folder:
    """A folder's files, and how many were passed over, by reason.

    `exclude`: patterns such as `*.png` or `2019/*`, of a name or of a path below the folder.
    `top`: the folder that was asked for, if `root` is only a part of it.
    """

    root: Path
    exclude: Sequence[str] = ()
    top: Path | None = None
    passed_over: Counter[str] = field(default_factory=Counter)

    def images(self) -> list[Path]:
        """In order of their paths. Fills `passed_over`."""
        files = self.files()
        reasons = [
            no_image(path) for path in progress(files, f"Reading the first bytes in {self.root}")
        ]
        self.passed_over.update(filter(None, reasons))
        return [path for path, reason in zip(files, reasons, strict=True) if reason is None]

    def files(self) -> list[Path]:
        """All files that aren't passed over by their names, in order of their paths."""
        self.passed_over.clear()
        files = sorted(progress(self._files(), f"Looking through {self.root}"))
        # Without the reasons of empty folders.
        self.passed_over = +self.passed_over
        return files

    def _files(self) -> Iterator[Path]:
        """Links to folders come last, so that a file keeps the path by which it lies there."""
        # A link back to the top is a loop.
        seen = {identity(self.top)} if self.top else set[tuple[int, int]]()
        folders, links = [self.root], list[Path]()
        while folders or links:
            folder = folders.pop() if folders else links.pop(0)
            try:
                real, names = identity(folder), sorted(os.listdir(folder))
            except OSError:
                self.passed_over["a folder that can't be read"] += 1
                continue
            if real in seen:
                self.passed_over["a link to a folder that was read already"] += 1
                continue
            seen.add(real)
            for name in names:
                path = folder / name
                if reason := self.reason(path):
                    self.passed_over[reason] += count(path)
                elif path.is_dir():
                    (links if path.is_symlink() else folders).append(path)
                elif path.is_file():
                    yield path
                else:
                    self.passed_over["a broken link" if path.is_symlink() else "no file"] += 1

    def reason(self, path: Path) -> str | None:
        """The reason why a file or folder is passed over by its name, or None."""
        relative = path.relative_to(self.top or self.root).as_posix()
        if any(
            fnmatch(text, pattern) for pattern in self.exclude for text in (path.name, relative)
        ):
            return EXCLUDED
        return hidden(path.name)


def progress(files: Iterable[Path], text: str, delay: float = 1) -> Iterable[Path]:
    """The files, with a bar after that many seconds, since a large folder takes minutes."""
    return tqdm(files, desc=text, unit=" files", delay=delay, leave=False)


def identity(folder: Path) -> tuple[int, int]:
    """The same for a folder and a link to it. Raises OSError."""
    state = folder.stat()
    return state.st_dev, state.st_ino


def count(path: Path) -> int:
    """How many files are at a path that is passed over."""
    if path.is_symlink() or not path.is_dir():
        return 1
    return sum(len(names) for _, _, names in os.walk(path))


def first_bytes(path: Path) -> bytes | None:
    """Those that tell a file's format; None if it can't be read."""
    try:
        with path.open("rb") as file:
            return file.read(START_BYTES)
    except OSError:
        return None


def no_image(path: Path) -> str | None:
    """The reason why a file is no image, or None.

    Its first bytes decide. A file that has only the name of an image is damaged, and one that can't
    be read may be an image. Both are kept, so that their error is reported.
    """
    start = first_bytes(path)
    if start is None:
        return None
    suffix = path.suffix.lower()
    if not start:
        return "empty"
    if format_of(start) or is_taken(suffix):
        return None
    return f"suffix {suffix}" if suffix else "no suffix and no image's first bytes"


def summary(passed_over: Counter[str]) -> str:
    """One line, empty if nothing was passed over."""
    if not passed_over:
        return ""
    total = passed_over.total()
    files = "file" if total == 1 else "files"
    return f"Passed over {total:,} {files}: {listed(passed_over)}.{heic_hint(passed_over)}"


def listed(reasons: Counter[str]) -> str:
    return ", ".join(f"{number:,} {reason}" for reason, number in reasons.most_common())


def heic_hint(reasons: Counter[str]) -> str:
    """A sentence if there are HEIC files among those that were no images."""
    count = sum(reasons[f"suffix {suffix}"] for suffix in HEIC_SUFFIXES)
    return f" To take the {count:,} in HEIC, add OPTIONS=--heic." if count else ""
