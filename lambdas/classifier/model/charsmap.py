"""SentencePiece's table of characters and what they become, as Hugging Face's `tokenizers` applies
it.
"""

from collections.abc import Iterable

from classifier.model.tables import Table, Trie

# A grapheme of more bytes is looked up character by character.
MAX_GRAPHEME_BYTES = 5


class Charsmap:
    """`graphemes`: whether a character and the marks on it are looked up together first. Then its
    first characters count if they are in the table, and the rest is dropped.
    """

    def __init__(self, tables: dict[str, Table], *, graphemes: bool) -> None:
        self._rules = Trie(tables, "rules")
        self._ends = tables["rules.ends"]
        self._texts = tables["rules.texts"]
        self._graphemes = graphemes

    def apply(self, text: str) -> str:
        parts: Iterable[str] = text
        if self._graphemes and not text.isascii():
            import regex

            parts = regex.findall(r"\X", text)
        return "".join(map(self._mapped, parts))

    def _mapped(self, part: str) -> str:
        if len(part) == 1 or len(part.encode()) <= MAX_GRAPHEME_BYTES:
            _, rule = next(self._rules.prefixes(part), (0, None))
            if rule is not None:
                start = self._ends[rule - 1] if rule else 0
                return "".join(map(chr, self._texts[start : self._ends[rule]]))
        return part if len(part) == 1 else "".join(map(self._mapped, part))
