"""Writes characters.json: what the library `tokenizers` makes of each character, whose tables of
Unicode are of several ages.
"""

import json
import sys
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

from sentencepiece import SentencePieceNormalizer
from tokenizers.normalizers import BertNormalizer, Precompiled
from tokenizers.pre_tokenizers import BertPreTokenizer

from export.tokenizers.parts import CHARACTERS, HANGUL
from export.tokenizers.sentencepiece import charsmap_of

Ranges = list[list[int]]


def make_characters() -> dict[str, Any]:
    return {"bert": bert(), "graphemes": graphemes()}


def bert() -> dict[str, Any]:
    """Ranges of those that are `removed`, and that stand alone (`spaced`), and what others
    `become`. Syllables of Hangul are left out: Unicode decomposes them by a rule.
    """
    normalize = BertNormalizer().normalize_str
    splitter = BertPreTokenizer()
    removed = set()
    spaced = set()
    become = {}
    for code, character in characters():
        normal = normalize(character).strip(" ")
        if not normal:
            removed.add(code)
        elif normal != character and code not in HANGUL:
            become[character] = normal
        words = [word for word, _ in splitter.pre_tokenize_str(normalize(f"a{character}a"))]
        # "a", the characters, "a"
        spaced |= {ord(alone) for alone in words[1:-1]}
    return {"removed": ranges(removed), "spaced": ranges(spaced), "become": become}


def graphemes() -> dict[str, Ranges]:
    """Ranges of those that are `joined` to the one before them, or to the one behind them
    (`prepended`), and `controls`, which nothing is joined to. Of a grapheme of at most 5 bytes what
    follows its first rule is dropped, which shows.
    """
    charsmap = charsmap_of(SentencePieceNormalizer(rule_name="nmt_nfkc").serialized_model_proto())
    assert charsmap
    normalize = Precompiled(charsmap).normalize_str

    def those(shows: Callable[[str], bool]) -> set[int]:
        return {code for code, character in characters() if shows(character)}

    # The first accent is replaced, and the second then dropped, if they are the grapheme.
    controls = those(lambda one: normalize(f"{one}\u0340\u0301").endswith("\u0300"))
    # Upsilon with a hook becomes another letter.
    joined = those(lambda one: normalize(f"\u03d2{one}") == "\u03a5") - controls
    # An accent is composed with its letter if the grapheme begins with the letter.
    prepended = those(lambda one: normalize(f"{one}a\u0301").endswith("a\u0301"))
    return {
        "joined": ranges(joined),
        "prepended": ranges(prepended),
        "controls": ranges(controls),
    }


def characters() -> Iterator[tuple[int, str]]:
    """All but surrogates, and white space, of which cleaning leaves single spaces alone."""
    for code in range(sys.maxunicode + 1):
        if not 0xD800 <= code <= 0xDFFF and not chr(code).isspace():
            yield code, chr(code)


def ranges(codes: set[int]) -> Ranges:
    result: Ranges = []
    for _, group in groupby(enumerate(sorted(codes)), lambda item: item[1] - item[0]):
        members = [code for _, code in group]
        result.append([members[0], members[-1]])
    return result


def main() -> None:
    text = json.dumps(make_characters(), ensure_ascii=False, separators=(",", ":"))
    CHARACTERS.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
