"""Finds the images below a folder by the rule of `make classify`, for programs that stand alone."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".avif")
# JPEG, PNG, GIF, BMP, WebP and AVIF.
FIRST_BYTES = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|BM|RIFF.{4}WEBP"
    rb"|.{4}ftyp(?:avi[fs]|(?:mif1|msf1|miaf).{4}(?:....){0,20}?avi[fs])",
    re.DOTALL,
)
# Thumbnails, waste bins and snapshots of Synology, QNAP, Windows and macOS.
NOT_THE_OWNERS = re.compile(
    r"@eadir|@synoresource|@tmp|#recycle|#snapshot|@recycle|@recently-snapshot|lost\+found"
    r"|system volume information|\$recycle\.bin|recycler|thumbs\.db"
    r"|ehthumbs\.db|desktop\.ini|__macosx",
    re.IGNORECASE,
)


def find_images(root: Path, exclude: Sequence[str] = ()) -> tuple[list[Path], Counter[str]]:
    """The images below a folder, in order, and how many files were passed over, by reason.

    Links to folders are followed, each folder once. `exclude`: patterns of names or of paths below
    the folder.
    """
    files, passed_over = list[Path](), Counter[str]()
    seen = set[tuple[int, int]]()
    folders, links = [root], list[Path]()
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)
        try:
            state, names = folder.stat(), sorted(os.listdir(folder))
        except OSError:
            passed_over["a folder that can't be read"] += 1
            continue
        if (state.st_dev, state.st_ino) in seen:
            passed_over["a link to a folder that was read already"] += 1
            continue
        seen.add((state.st_dev, state.st_ino))
        for path in (folder / name for name in names):
            if reason := hidden(path, root, exclude):
                passed_over[reason] += count(path)
            elif path.is_dir():
                (links if path.is_symlink() else folders).append(path)
            elif not path.is_file():
                passed_over["a broken link" if path.is_symlink() else "no file"] += 1
            elif reason := no_image(path):
                passed_over[reason] += 1
            else:
                files.append(path)
    return sorted(files), +passed_over


def count(path: Path) -> int:
    """How many files are at a path that is passed over."""
    if path.is_symlink() or not path.is_dir():
        return 1
    return sum(len(names) for _, _, names in os.walk(path))


def hidden(path: Path, root: Path, exclude: Sequence[str]) -> str | None:
    """The reason why a file or folder is passed over by its name, or None."""
    texts = (path.name, path.relative_to(root).as_posix())
    if any(fnmatch(text, pattern) for pattern in exclude for text in texts):
        return "excluded"
    if path.name.startswith("."):
        return "hidden"
    return f"in {path.name}" if NOT_THE_OWNERS.fullmatch(path.name) else None


def no_image(path: Path) -> str | None:
    """The reason why a file is no image by its first bytes, or None. A damaged image is sent, for
    its error.
    """
    try:
        with path.open("rb") as file:
            start = file.read(128)
    except OSError:
        return None
    if not start:
        return "empty"
    suffix = path.suffix.lower()
    if FIRST_BYTES.match(start) or suffix in SUFFIXES:
        return None
    return f"suffix {suffix}" if suffix else "no suffix and no image's first bytes"
