"""A table of characters and what they become, as Hugging Face's `tokenizers` applies
SentencePiece's.
"""

import re

from classifier.model.tables import Table, Trie

# A grapheme of more bytes is looked up character by character.
MAX_GRAPHEME_BYTES = 5


class Charsmap:
    """`pattern`: finds what is looked up together, such as a letter with the marks on it. Then its
    first characters count if they are in the table, and the rest is dropped.
    """

    def __init__(self, tables: dict[str, Table], pattern: str) -> None:
        self._rules = Trie(tables, "rules")
        self._ends = tables["rules.ends"]
        self._texts = tables["rules.texts"]
        self._pattern = re.compile(pattern)

    def apply(self, text: str) -> str:
        return "".join(map(self._mapped, self._pattern.findall(text)))

    def _mapped(self, part: str) -> str:
        if len(part) == 1 or len(part.encode()) <= MAX_GRAPHEME_BYTES:
            _, rule = next(self._rules.prefixes(part), (0, None))
            if rule is not None:
                start = self._ends[rule - 1] if rule else 0
                return "".join(map(chr, self._texts[start : self._ends[rule]]))
        return part if len(part) == 1 else "".join(map(self._mapped, part))
