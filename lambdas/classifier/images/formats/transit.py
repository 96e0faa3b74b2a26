"""Files that a transfer as text has damaged: line feeds became CR LF, or line ends were removed."""

import re
from collections import Counter
from collections.abc import Callable

from classifier.images.formats.items import full_length

REWRITTEN = (
    "its line ends were rewritten on the way, as a transfer in text mode does. Send it in binary"
    " mode"
)
REMOVED = "its line ends were removed on the way, as curl -d does. Send it with --data-binary"
# A line feed that no transfer in text mode lets through. A compressed file has one among its first
# few hundred bytes, so that the search costs nothing.
_LONE_LINE_FEED = re.compile(rb"(?<!\r)\n")
_AROUND_LINE_END = re.compile(rb"(?=(..\r\n..))", re.DOTALL)
_GIF_TEXT = re.compile(rb"!\xfe|!\xff")
# In shorter files all line ends may be of one kind by chance.
_MIN_BYTES = 500
# By chance each line feed of compressed data follows a CR once in 256 times. A pattern that repeats
# has the same bytes around each.
_MIN_LINE_ENDS = 5
_SAMPLE = 1 << 16
# Compressed data with this many of each other byte have as many line ends, and as many CRs.
_MIN_COUNT = 8
_MIN_COUNT_OF_ONE = 16
# The length that a file tells.
_LENGTHS: dict[str, Callable[[bytes], int]] = {
    "WEBP": lambda data: int.from_bytes(data[4:8], "little") + 8,
    "BMP": lambda data: int.from_bytes(data[2:6], "little"),
    "AVIF": full_length,
}


def likely_damage(data: bytes) -> str | None:
    """How line ends were changed, if the file looks so. A short or regular file may by chance."""
    if len(data) < _MIN_BYTES:
        return None
    if (b"\n" in data) != (b"\r" in data):
        return REWRITTEN if _is_varied(data, _MIN_COUNT_OF_ONE) else None
    if _LONE_LINE_FEED.search(data):
        return None
    return REWRITTEN if b"\n" in data else REMOVED


def certain_damage(name: str, data: bytes) -> str | None:
    """The same, if no whole file of the format `name` looks so. `data`: without metadata, which is
    text.
    """
    damage = likely_damage(data)
    return damage if damage and _is_certain(name, data, damage) else None


def _is_certain(name: str, data: bytes, damage: str) -> bool:
    if (b"\n" in data) != (b"\r" in data):
        # The pixels of a BMP are not compressed.
        return name != "BMP"
    if name in _LENGTHS:
        # Only the length before the damage is the one that the file tells.
        before = data.replace(b"\r\n", b"\n")
        return len(data) != _LENGTHS[name](data) and len(before) == _LENGTHS[name](before)
    if damage == REWRITTEN:
        compressed = _GIF_TEXT.split(data, 1)[0] if name == "GIF" else data
        return len(set(_AROUND_LINE_END.findall(compressed))) >= _MIN_LINE_ENDS
    return _is_varied(data, _MIN_COUNT)


def _is_varied(data: bytes, least: int) -> bool:
    """Whether each byte but zero and those of line ends occurs so often."""
    counts = Counter(data[-_SAMPLE:])
    return min(counts[value] for value in range(256) if value not in b"\0\r\n") >= least
