"""CLIP's byte-pair encoding, from a table that loads in milliseconds."""

import sys
from array import array
from heapq import heapify, heappop, heappush
from pathlib import Path

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


class Merges:
    """`path`: pairs of ids, two little-endian uint16 each, the first to merge first."""

    def __init__(self, path: Path) -> None:
        pairs = array("I", path.read_bytes())
        if sys.byteorder == "big":
            pairs.byteswap()
        self._merged = dict(zip(pairs, range(FIRST_MERGED, FIRST_MERGED + len(pairs)), strict=True))
        self._kept: dict[str, list[int]] = {}

    def encode(self, word: str) -> list[int]:
        """The ids of one word, which has a character or more."""
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
