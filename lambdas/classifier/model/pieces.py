"""Splits a word into pieces of a vocabulary: the likeliest ones (SentencePiece's Unigram), or each
the longest that fits (BERT's WordPiece). Ids and sums are those of Hugging Face's `tokenizers`.
"""

from math import inf

from classifier.model.tables import Table, Trie

# Both as Hugging Face's library has them.
MAX_WORDPIECE_CHARACTERS = 100
CONTINUATION = "##"


class Unigram:
    """`scores`: the logarithms of the pieces' probabilities, and that of an unknown character."""

    def __init__(self, tables: dict[str, Table], unknown: int) -> None:
        self._pieces = Trie(tables, "pieces")
        self._scores = tables["scores"]
        self._unknown = unknown

    def encode(self, word: str) -> list[int]:
        """The pieces with the largest sum of scores; `unknown` for all of a row of characters that
        no piece has.
        """
        scores = self._scores
        # Of the likeliest pieces up to each character: their sum, the last one's start and id.
        sums = [0.0, *(-inf for _ in word)]
        starts = [0] * len(sums)
        ids = [self._unknown] * len(sums)

        def offer(start: int, end: int, piece: int, score: float) -> None:
            if sums[start] + score > sums[end]:
                sums[end] = sums[start] + score
                starts[end] = start
                ids[end] = piece

        for start in range(len(word)):
            single = False
            for end, piece in self._pieces.prefixes(word, start):
                single |= end == start + 1
                offer(start, end, piece, scores[piece])
            if not single:
                offer(start, start + 1, self._unknown, scores[-1])
        result = list[int]()
        end = len(word)
        while end:
            if not (result and result[-1] == ids[end] == self._unknown):
                result.append(ids[end])
            end = starts[end]
        return result[::-1]


class WordPiece:
    """A word that doesn't split into pieces as a whole is `unknown`."""

    def __init__(self, tables: dict[str, Table], unknown: int) -> None:
        self._pieces = Trie(tables, "pieces")
        self._unknown = unknown
        self._inside = 0
        for character in CONTINUATION:
            self._inside = self._pieces.step(self._inside, character)

    def encode(self, word: str) -> list[int]:
        ids = list[int]()
        start = 0
        while start < len(word) <= MAX_WORDPIECE_CHARACTERS:
            fitting = list(self._pieces.prefixes(word, start, self._inside if start else 0))
            if not fitting:
                break
            start, piece = fitting[-1]
            ids.append(piece)
        return ids if start == len(word) else [self._unknown]
