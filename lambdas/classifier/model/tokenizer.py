"""Turns texts into open_clip's token ids."""

import re
import sys
from array import array
from functools import cached_property
from heapq import heapify, heappop, heappush
from pathlib import Path
from typing import Protocol

from classifier.contract.bundle import TextSettings
from classifier.contract.errors import ApiError

# The ids of single bytes, as CLIP numbers them (openai/CLIP, simple_tokenizer.py): printable ones
# first. A word's last byte has its id plus 256, since a word's end is part of its last symbol.
_PRINTABLE = (*range(33, 127), *range(161, 173), *range(174, 256))
BYTE_IDS = tuple(
    map([*_PRINTABLE, *(byte for byte in range(256) if byte not in _PRINTABLE)].index, range(256))
)
END_OF_WORD = 256
# Two symbols that the i-th line of the table merges become this id plus i.
FIRST_MERGED = 512
# A longer word is rare and not kept.
MAX_KEPT_CHARACTERS = 32
MAX_KEPT_WORDS = 10_000
# Texts in which cleaning changes only white space and capitals: without character references and
# control characters.
_PLAIN = re.compile(r"[\t\n\r -%'-~]*")
# The letters and digits of ASCII, for the pattern's classes of all scripts'.
_CLASSES = {r"\p{L}": "a-zA-Z", r"\p{N}": "0-9"}

# Invisible characters that change what the model reads: the joining grapheme, soft hyphen, marks
# and controls of direction, zero-width spaces, and the byte order mark; then the selectors of a
# variant and the tags of a flag if they follow nothing that has variants. Of the format characters
# (https://www.unicode.org/reports/tr44/#Default_Ignorable_Code_Point) those are left that are seen,
# or that shape a script.
_INVISIBLE = (
    "[\u00ad\u034f\u061c\u17b4\u17b5\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a]"
    "|(?<![\u1810-\u18af])[\u180b-\u180f]+"
    "|(?:(?<=[\\sA-Za-z\u200c\u200d])|^)[\ufe00-\ufe0f]+"
    "|(?<![\U0001f3f4\U000e0020-\U000e007e])[\U000e0000-\U000e007f]+"
)
# Letters and marks of the scripts that spell with joiners: Arabic's with Persian and its other
# relatives, the Indic ones, Mongolian. https://www.unicode.org/versions/Unicode16.0.0/core-spec/
# chapters 9, 12 and 13
_SPELT = (
    "\u0620-\u065f\u066e-\u06ef\u06fa-\u08ff\u0900-\u0fff\u1000-\u109f\u1780-\u18af"
    "\u1a20-\u1c4f\ua800-\uaaff\ufb50-\ufeef"
)
# The signs that end a consonant, behind which a joiner at a word's end shapes it.
_VIRAMAS = "\u094d\u09cd\u0a4d\u0acd\u0b4d\u0bcd\u0c4d\u0ccd\u0d4d\u0dca"
_EMOJI = "\u2190-\u2bff\U0001f000-\U0001faff"
# A joiner that is kept is the first or second group.
_JOINERS = (
    f"(?:(?<=[{_SPELT}])([\u200c\u200d])[\u200c\u200d]*(?=[{_SPELT}])"
    f"|(?<=[{_EMOJI}\ufe0f])(\u200d)[\u200c\u200d]*(?=[{_EMOJI}])"
    f"|(?<=[{_VIRAMAS}])(\u200d)[\u200c\u200d]*"
    "|[\u200c\u200d]+)"
)


class _Pattern(Protocol):
    def findall(self, string: str, /) -> list[str]: ...


class Merges:
    """CLIP's byte-pair encoding, from a table that loads in milliseconds.

    `path`: pairs of ids, two little-endian uint16 each, the first to merge first.
    """

    def __init__(self, path: Path) -> None:
        pairs = array("I", path.read_bytes())
        if sys.byteorder == "big":
            pairs.byteswap()
        self._merged = dict(zip(pairs, range(FIRST_MERGED, FIRST_MERGED + len(pairs)), strict=True))
        self._kept: dict[str, list[int]] = {}

    def encode(self, word: str) -> list[int]:
        """The ids of one word, which isn't empty."""
        ids = self._kept.get(word)
        if ids is None:
            ids = self._merge([BYTE_IDS[byte] for byte in word.encode()])
            if len(word) <= MAX_KEPT_CHARACTERS:
                if len(self._kept) >= MAX_KEPT_WORDS:
                    self._kept.clear()
                self._kept[word] = ids
        return ids

    def _merge(self, ids: list[int]) -> list[int]:
        """Merges the pair that comes first in the table, of equal ones the leftmost, until no pair
        is in it.

        A heap finds it, so that a word of thousands of bytes takes milliseconds.
        """
        ids[-1] += END_OF_WORD
        merged = self._merged
        end = len(ids)
        # The neighbours of each symbol that is left; a symbol that became part of the one before it
        # is -1.
        before = list(range(-1, end - 1))
        after = list(range(1, end + 1))

        heap = [
            (merged[pair], i)
            for i in range(end - 1)
            if (pair := ids[i] | ids[i + 1] << 16) in merged
        ]
        heapify(heap)
        while heap:
            rank, left = heappop(heap)
            right = after[left]
            if right == end or merged.get(ids[left] | ids[right] << 16) != rank:
                continue
            ids[left] = rank
            ids[right] = -1
            after[left] = right = after[right]
            if right < end:
                before[right] = left
                if (pair := rank | ids[right] << 16) in merged:
                    heappush(heap, (merged[pair], left))
            if (previous := before[left]) >= 0 and (pair := ids[previous] | rank << 16) in merged:
                heappush(heap, (merged[pair], previous))
        return [symbol for symbol in ids if symbol >= 0]


class Tokenizer:
    """Gives open_clip's ids. Libraries that only texts beyond plain ASCII need are imported when
    the first such text comes.
    """

    def __init__(self, folder: Path, settings: TextSettings) -> None:
        self._settings = settings
        self._merges = Merges(folder / "merges.bin")
        plain = settings.pattern
        for name, characters in _CLASSES.items():
            plain = plain.replace(name, characters)
        self._plain = re.compile(plain, re.IGNORECASE)

    @cached_property
    def _full(self) -> _Pattern:
        import regex

        full: _Pattern = regex.compile(self._settings.pattern, regex.IGNORECASE)
        return full

    def clean(self, text: str) -> str:
        """The text as the model sees it; two texts with equal results are the same to it.

        Like open_clip's, except that invisible characters are removed.
        """
        if not _PLAIN.fullmatch(text):
            import html

            import ftfy

            text = html.unescape(html.unescape(ftfy.fix_text(text)))
            text = re.sub(_JOINERS, r"\1\2\3", re.sub(_INVISIBLE, "", text))
        return " ".join(text.split()).lower()

    def encode(self, text: str, field: str | None = None, subject: str = "The label") -> list[int]:
        """Token ids with start and end id, at most the context length.

        Raises ApiError for `field`, with a message about `subject`.
        """
        settings = self._settings
        clean = self.clean(text)
        if not clean:
            message = (
                f"{subject} is empty without white space and invisible characters; say what to"
                " look for."
            )
            raise ApiError(400, "invalid_request", message, field)
        for token in settings.special_tokens:
            if token in clean:
                raise ApiError(
                    400,
                    "invalid_request",
                    f"{subject} contains {token}, which the model reserves.",
                    field,
                )
        pattern = self._plain if clean.isascii() else self._full
        ids = [one for word in pattern.findall(clean) for one in self._merges.encode(word)]
        maximum = settings.context_length - 2
        if len(ids) > maximum:
            raise ApiError(
                400,
                "label_too_long",
                f"{subject} has {len(ids)} tokens; the model reads at most {maximum}.",
                field,
            )
        return [settings.start_id, *ids, settings.end_id]
