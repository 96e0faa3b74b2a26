"""Labelled images: from a folder for each label, or from a CSV file."""

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from classifier.contract.errors import quoted
from tools.evaluate.csv_file import from_csv
from tools.evaluate.labelled import OTHER, ImagesError, Labelled, known_name
from tools.folders import EXCLUDED, Folder, count, no_image, summary

OUTSIDE_FOLDERS = "in no label's folder"


def read_images(
    source: Path, names: Sequence[str], exclude: Sequence[str] = ()
) -> tuple[list[Labelled], Counter[str]]:
    """The images, by path, and how many files were passed over, by reason. `names`: those that the
    classifier knows. Raises ImagesError.
    """
    # macOS writes é in a folder's name as two characters.
    known = {unicodedata.normalize("NFC", name): name for name in (*names, OTHER)}
    if source.is_dir():
        found, passed_over = _from_folders(source, known, exclude)
    elif source.is_file():
        found, passed_over = list(from_csv(source, known)), Counter()
    else:
        raise ImagesError(f"{source} is neither a folder nor a CSV file.")
    if not found:
        folders = ", ".join(map(quoted, [*list(names)[:3], OTHER]))
        flat = passed_over[OUTSIDE_FOLDERS]
        there = f"has {flat} images in no label's folder" if flat else "has no image"
        raise ImagesError(
            f"{source} {there}. Make a folder for each label in it ({folders}) and put the label's"
            " images there, or name a CSV file of path,label. " + summary(passed_over)
        )
    return sorted(found, key=lambda image: image.path), passed_over


def _from_folders(
    source: Path, known: Mapping[str, str], exclude: Sequence[str]
) -> tuple[list[Labelled], Counter[str]]:
    """Each label's folder is read by itself, so that a link may bring the same images under two
    labels.
    """
    found, passed_over, top = list[Labelled](), Counter[str](), Folder(source, exclude)
    for path in sorted(source.iterdir()):
        named = unicodedata.normalize("NFC", path.name) in known
        reason = top.reason(path)
        if reason == EXCLUDED or (reason and not named):
            passed_over[reason] += count(path)
        elif path.is_dir():
            folder = Folder(path, exclude, source)
            images = folder.images()
            passed_over += folder.passed_over
            if images:
                name = known_name(path.name, known, f"The folder {path} has the name")
                found += [Labelled(image, frozenset([name]) - {OTHER}) for image in images]
        elif named and not path.exists():
            raise ImagesError(f"The link {path} leads nowhere; mend or remove it.")
        else:
            passed_over[no_image(path) or OUTSIDE_FOLDERS] += 1
    return found, passed_over


def distinct(
    images: Sequence[Labelled], hashes: Mapping[Path, str], *, multi_label: bool
) -> tuple[list[Labelled], list[Labelled]]:
    """Each content once, and the copies, which would count twice. `hashes`: the sha256 of each
    file's content; others are left out.

    With `multi_label`, copies under several labels show all of them. Raises ImagesError for
    copies that contradict each other.
    """
    first: dict[str, Labelled] = {}
    copies = []
    for image in images:
        if (content := hashes.get(image.path)) is None:
            continue
        other = first.setdefault(content, image)
        if other is image:
            continue
        copies.append(image)
        if other.labels == image.labels:
            continue
        if not multi_label or not other.labels or not image.labels:
            one, two = (
                " and ".join(sorted(map(quoted, each.labels))) or OTHER for each in (other, image)
            )
            raise ImagesError(
                f"{other.path} and {image.path} are the same image, under {one} and under {two};"
                " remove one of them."
            )
        first[content] = replace(other, labels=other.labels | image.labels)
    return list(first.values()), copies


def truth(images: Sequence[Labelled], names: Sequence[str]) -> NDArray[np.bool_]:
    """Which of the names each image shows: bool [N, L]."""
    return np.array(
        [[name in image.labels for name in names] for image in images], np.bool_
    ).reshape(-1, len(names))


def groups(images: Sequence[Labelled], copies: NDArray[np.int64]) -> NDArray[np.int64]:
    """A number for each image [N], the same for those of one group.

    `copies` [N]: the same for near-copies, which are a group unless they have one. Those without a
    group join that of their copy.
    """
    given: dict[int, str] = {}
    for image, copy in zip(images, copies.tolist(), strict=True):
        if image.group:
            given.setdefault(copy, image.group)
    numbers: dict[object, int] = {}
    keys = [
        image.group or given.get(copy, copy)
        for image, copy in zip(images, copies.tolist(), strict=True)
    ]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)
