"""Turns texts into open_clip's token ids."""

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Protocol

from classifier.contract.bundle import TOKENIZER, TextSettings
from classifier.contract.errors import ApiError
from classifier.model.bpe import ByteBpe, CharacterBpe
from classifier.model.charsmap import Charsmap
from classifier.model.cleaning import clean
from classifier.model.pieces import Unigram, WordPiece
from classifier.model.tables import Table, Trie, open_tables

TokenIds = tuple[int, ...]
# SentencePiece's, of a word's beginning.
MARK = "▁"
# The letters and digits of ASCII, for the pattern's classes of all scripts'.
_CLASSES = {r"\p{L}": "a-zA-Z", r"\p{N}": "0-9"}


class _Pattern(Protocol):
    def findall(self, string: str, /) -> list[str]: ...


class _Pieces(Protocol):
    def encode(self, word: str) -> list[int]: ...


class Tokenizer:
    """Gives open_clip's ids. Libraries that only texts beyond plain ASCII need are imported when
    the first such text comes.
    """

    def __init__(self, folder: Path, settings: TextSettings) -> None:
        self._settings = settings
        tables = open_tables(folder / TOKENIZER)
        self._pieces = _pieces(tables, settings)
        self._charsmap = Charsmap(tables, settings.charsmap) if settings.charsmap else None
        # The unknown piece, and the mark of a word's beginning that stands before it.
        self._unread = {settings.unknown_id}
        if settings.kind != "byte-bpe":
            self._unread.add(Trie(tables, "pieces").get(MARK))
        self._replacements = [(re.compile(old), new) for old, new in settings.replacements]
        plain = settings.pattern
        for name, characters in _CLASSES.items():
            plain = plain.replace(name, characters)
        self._plain = re.compile(plain)
        self._special = _any_of(settings.special_tokens)
        self._added = _any_of(settings.added_tokens)
        self._added_later = _any_of(settings.normalized_tokens)

    @cached_property
    def _full(self) -> _Pattern:
        if "\\p" not in self._settings.pattern:
            return self._plain
        import regex

        full: _Pattern = regex.compile(self._settings.pattern)
        return full

    def clean(self, text: str) -> str:
        """The text as the tokenizer sees it; two texts with equal results are the same to the
        model.
        """
        return clean(text, self._settings.cleaning)

    def encode(self, text: str, field: str | None = None, subject: str = "The label") -> list[int]:
        """Token ids with those at the start and the end, at most the context length.

        Raises ApiError for `field`, with a message about `subject`.
        """
        settings = self._settings
        clean = self.clean(text)
        self._check_special(clean, field, subject)
        ids = list[int]()
        for part, token in _apart(clean, self._added, settings.added_tokens):
            normal = self._normalized(part)
            self._check_special(normal, field, subject)
            for rest, later in _apart(normal, self._added_later, settings.normalized_tokens):
                pattern = self._plain if rest.isascii() else self._full
                for word in pattern.findall(rest):
                    ids += self._pieces.encode(word)
                ids += later
            ids += token
        maximum = settings.context_length - len(settings.start_ids) - len(settings.end_ids)
        code = "invalid_request"
        if not ids:
            removed = ", punctuation" if settings.cleaning == "canonicalize" else ""
            message = (
                f"{subject} is empty without white space{removed} and invisible characters; say"
                " what to look for."
            )
        elif self._unread.issuperset(ids):
            message = (
                f"{subject} can't be read: no character of it is in the model's vocabulary. Write"
                " it in a language that the model knows."
            )
        elif len(ids) > maximum:
            code = "label_too_long"
            message = f"{subject} has {len(ids)} tokens; the model reads at most {maximum}."
        else:
            return [*settings.start_ids, *ids, *settings.end_ids]
        raise ApiError(400, code, message, field)

    def _normalized(self, text: str) -> str:
        if self._charsmap:
            text = self._charsmap.apply(text)
        for old, new in self._replacements:
            text = old.sub(new, text)
        return text

    def _check_special(self, text: str, field: str | None, subject: str) -> None:
        """Raises ApiError."""
        if self._special and (found := self._special.search(text)):
            raise ApiError(
                400,
                "invalid_request",
                f"{subject} contains {found[0]}, which the model reserves.",
                field,
            )


def _pieces(tables: dict[str, Table], settings: TextSettings) -> _Pieces:
    if settings.kind == "byte-bpe":
        return ByteBpe(tables)
    assert settings.unknown_id is not None
    if settings.kind == "bpe":
        return CharacterBpe(tables, settings.unknown_id)
    kind = Unigram if settings.kind == "unigram" else WordPiece
    return kind(tables, settings.unknown_id)


def _any_of(tokens: list[str] | Mapping[str, int]) -> re.Pattern[str] | None:
    """Finds the leftmost of the tokens, of those that begin there the longest."""
    longest_first = sorted(tokens, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first))) if tokens else None


def _apart(
    text: str, pattern: re.Pattern[str] | None, ids: Mapping[str, int]
) -> Iterator[tuple[str, list[int]]]:
    """The text up to each token that the pattern finds, with the token's id, and the rest."""
    begin = 0
    for found in pattern.finditer(text) if pattern else ():
        yield text[begin : found.start()], [ids[found[0]]]
        begin = found.end()
    yield text[begin:], []
