"""A labelled image, and the names that it may have."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from classifier.contract.request.unknown import unknown_name

# The folder, or the label in a CSV file, of images that show none of the names.
OTHER = "_other"


class ImagesError(Exception):
    """Labelled images that can't be used; the message says what to do."""


@dataclass(frozen=True)
class Labelled:
    """An image and the names that it shows: none if it shows something else. Images of one `group`
    belong together, such as frames of one video; without one, near-copies do. `place`: the line of
    a CSV file that names it.
    """

    path: Path
    labels: frozenset[str]
    group: str | None = None
    place: str = ""


def known_name(text: str, known: Mapping[str, str], subject: str, hint: str = "") -> str:
    found = known.get(unicodedata.normalize("NFC", text))
    if found is None:
        raise ImagesError(
            f"{subject} {unknown_name(text, list(known.values()), 'label')} Images of none go to"
            f" {OTHER}.{hint}"
        )
    return found
