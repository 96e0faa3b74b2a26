"""The objects of a store, and which of them are images by their names and sizes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

from classifier.contract.limits import MAX_OBJECT_BYTES
from classifier.images.formats import takes_heic

HEIC_SUFFIXES = (".heic", ".heif", ".hif")
SUFFIXES = frozenset((".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".avif"))
# Thumbnails, waste bins and snapshots of Synology, QNAP, Windows and macOS, in small letters.
NOT_THE_OWNERS = frozenset(
    (
        *("@eadir", "@synoresource", "@tmp", "#recycle", "#snapshot"),
        *("@recycle", "@recently-snapshot", "lost+found", "system volume information"),
        *("$recycle.bin", "recycler", "thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx"),
    )
)


@dataclass(frozen=True)
class Item:
    """An object of a store. `exact`: only the version that etag (and version) name counts, not an
    object that has replaced it.
    """

    key: str
    etag: str | None = None
    size: int | None = None
    version: str | None = None
    exact: bool = False

    @property
    def identity(self) -> tuple[str, str | None, str | None]:
        """The same for the same version of the same object."""
        return self.key, self.version, self.etag


class Store(Protocol):
    """Holds images. `stat` and `read` raise ApiError for a fault of one object, and anything else
    if the store itself fails.
    """

    def skip_reason(self, item: Item) -> str | None:
        """The reason why an object is not read, or None."""

    def stat(self, item: Item) -> Item:
        """The item with its etag and size."""

    def read(self, item: Item) -> tuple[Item, bytes]:
        """The object, and the item as it was read."""


class Replaced(Exception):  # noqa: N818, it is no error
    """The version that an item names is gone. The object that replaced it is an item of its own."""


def hidden(name: str) -> str | None:
    """The reason why a file or folder of this name isn't one of its owner's images, or None."""
    if name.startswith("."):
        return "hidden"
    return f"in {name}" if name.lower() in NOT_THE_OWNERS else None


def is_taken(suffix: str) -> bool:
    """Whether this is the suffix, in small letters, of an image."""
    return suffix in SUFFIXES or (takes_heic() and suffix in HEIC_SUFFIXES)


def wrong_size(item: Item) -> str | None:
    """The reason why an object of this size is not read, or None."""
    if item.size == 0:
        return "empty"
    if item.size is not None and item.size > MAX_OBJECT_BYTES:
        return f"more than {MAX_OBJECT_BYTES // 1_000_000} MB"
    return None


def skip_reason(item: Item, within: str = "") -> str | None:
    """The reason why an object is no image, by its name below the prefix `within` and by its size,
    or None.

    The prefix is of the owner's choice, so it may be hidden.
    """
    path = PurePosixPath(item.key.removeprefix(within))
    suffix = path.suffix.lower()
    if item.key.endswith("/"):
        return "folder"
    if reason := next(filter(None, map(hidden, path.parts)), None):
        return reason
    if suffix and not is_taken(suffix) and item.size != 0:
        return f"suffix {suffix}"
    return wrong_size(item)


def deduplicated(items: Sequence[Item]) -> list[Item]:
    """Without those that name the same version of the same object."""
    return list({item.identity: item for item in items}.values())
