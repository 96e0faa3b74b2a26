"""Byte-pair encoding: of bytes as CLIP and RoBERTa have it, or of characters as SentencePiece has
it.
"""

from heapq import heapify, heappop, heappush

from classifier.model.tables import Table, Trie, find

BYTES = 256
# A longer word is rare and not kept.
MAX_KEPT_CHARACTERS = 32
MAX_KEPT_WORDS = 10_000


class ByteBpe:
    """`bytes`: the ids of single bytes, then of a word's last byte, since in CLIP's encoding a
    word's end is part of its last symbol. `merges`: pairs of ids, sorted.
    """

    def __init__(self, tables: dict[str, Table]) -> None:
        self._bytes = tables["bytes"]
        self._pairs = tables["merges.keys"]
        self._ranks = tables["merges.ranks"]
        self._merged = tables["merges.values"]
        self._kept: dict[str, list[int]] = {}

    def encode(self, word: str) -> list[int]:
        """The ids of one word, which isn't empty."""
        ids = self._kept.get(word)
        if ids is None:
            ids = self._merge(self._symbols(word))
            if len(word) <= MAX_KEPT_CHARACTERS:
                if len(self._kept) >= MAX_KEPT_WORDS:
                    self._kept.clear()
                self._kept[word] = ids
        return ids

    def _symbols(self, word: str) -> list[int]:
        *inside, last = word.encode()
        return [*(self._bytes[byte] for byte in inside), self._bytes[BYTES + last]]

    def _merge(self, ids: list[int]) -> list[int]:
        """Merges the pair with the least rank, of equal ones the leftmost, until no pair is in the
        table.

        A heap finds it, so that a word of thousands of bytes takes milliseconds.
        """
        end = len(ids)
        # The neighbours of each symbol that is left; a symbol that became part of the one before it
        # is -1.
        before = list(range(-1, end - 1))
        after = list(range(1, end + 1))

        def pair(left: int, right: int) -> tuple[int, int, int] | None:
            i = find(self._pairs, ids[left] << 32 | ids[right])
            return None if i < 0 else (self._ranks[i], left, self._merged[i])

        heap = [found for i in range(end - 1) if (found := pair(i, i + 1))]
        heapify(heap)
        while heap:
            _, left, merged = heappop(heap)
            right = after[left]
            # The pair may have changed since; another with the same result is as good.
            if ids[left] < 0 or right == end or (now := pair(left, right)) is None:
                continue
            if now[2] != merged:
                continue
            ids[left] = merged
            ids[right] = -1
            after[left] = right = after[right]
            if right < end:
                before[right] = left
                if found := pair(left, right):
                    heappush(heap, found)
            if (previous := before[left]) >= 0 and (found := pair(previous, left)):
                heappush(heap, found)
        return [symbol for symbol in ids if symbol >= 0]


class CharacterBpe(ByteBpe):
    """Of a word's characters. One without a piece becomes the pieces of its bytes if there are
    such, else `unknown`, one for all in a row.
    """

    def __init__(self, tables: dict[str, Table], unknown: int) -> None:
        super().__init__(tables)
        self._characters = Trie(tables, "pieces")
        self._unknown = unknown

    def _symbols(self, word: str) -> list[int]:
        ids = list[int]()
        for character in word:
            piece = self._characters.get(character)
            if piece is not None:
                ids.append(piece)
            elif self._bytes:
                ids += [self._bytes[byte] for byte in character.encode()]
            elif not ids or ids[-1] != self._unknown:
                ids.append(self._unknown)
        return ids
