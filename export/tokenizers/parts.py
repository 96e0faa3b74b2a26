"""What the parts of a `tokenizer.json` (Hugging Face's library `tokenizers`) become in a bundle.
Each raises ExportError for what a bundle can't express exactly.
"""

import base64
import json
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from classifier.model.pieces import CONTINUATION, MAX_WORDPIECE_CHARACTERS
from classifier.model.tokenizer import MARK
from export.errors import ExportError
from export.tokenizers.sentencepiece import read_charsmap
from export.tokenizers.tables import Tables, merges, texts, trie

Part = Mapping[str, Any]
Replacements = list[tuple[str, str]]

CHARACTER = "(?s)."
WHOLE = f"{CHARACTER}+"
# White_Space, as Rust has it; Python's \s has four control characters more.
SPACE = r"[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
# Words that each begin with SentencePiece's mark.
MARKED = f"{MARK}[^{MARK}]*|[^{MARK}]+"
# What a character that is a word becomes.
ALONE = r" \1 "
# GPT-2's words, as ByteLevel splits them.
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d| ?[\p{L}]+| ?[\p{N}]+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# The characters that stand for bytes in ByteLevel's vocabularies (GPT-2's bytes_to_unicode).
_PRINTABLE = (*range(33, 127), *range(161, 173), *range(174, 256))
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]
BYTE_CHARACTERS = [
    chr(byte if byte in _PRINTABLE else 256 + _OTHERS.index(byte)) for byte in range(256)
]
# What the library makes of characters; for BERT those of Hangul are decomposed by Unicode's rule.
CHARACTERS = Path(__file__).with_name("characters.json")
HANGUL = range(0xAC00, 0xD7A4)
# Patterns of the library's own syntax that mean the same here.
KNOWN_PATTERNS = {" {2,}"}


def flat(part: Part | None, name: str) -> list[Part]:
    """The parts of a sequence, if it is one. `name`: of its list."""
    if part is None:
        return []
    if part["type"] != "Sequence":
        return [part]
    return [one for inner in part[name] for one in flat(inner, name)]


def normalizing(part: Part | None) -> tuple[str | None, Replacements, Tables]:
    """What is looked up together in the table, what is replaced then, and the table."""
    charsmap = None
    replacements: Replacements = []
    tables: Tables = {}
    parts = flat(part, "normalizers")
    if [one["type"] for one in parts] == ["BertNormalizer"]:
        return CHARACTER, *_bert(parts[0])
    for one in parts:
        kind = one["type"]
        if kind == "Precompiled" and not charsmap and not replacements:
            charsmap = _graphemes()
            rules = read_charsmap(base64.b64decode(one["precompiled_charsmap"]))
            tables = texts("rules", rules)
        elif kind == "Strip":
            ends = [f"^{SPACE}+"] * one["strip_left"] + [f"{SPACE}+$"] * one["strip_right"]
            replacements += [(end, "") for end in ends]
        elif kind == "Replace":
            replacements.append((_pattern(one["pattern"]), _template(one["content"])))
        else:
            raise ExportError(f"it normalizes texts by {kind}")
    return charsmap, replacements, tables


def splitting(part: Part | None, normalized: Replacements) -> tuple[Replacements, str]:
    """What else is replaced, and the pattern of the words. `normalized`: what was replaced."""
    parts = flat(part, "pretokenizers")
    kinds = [one["type"] for one in parts]
    if not kinds:
        return [], WHOLE
    if kinds == ["BertPreTokenizer"] and any(new == ALONE for _, new in normalized):
        return [], "[^ ]+"
    if kinds == ["ByteLevel"] and parts[0].get("use_regex", True):
        return [("^(?=[^ ])", " ")] if parts[0]["add_prefix_space"] else [], WORDS
    # Splits at spaces, of which none is left.
    if (
        kinds == ["Split"]
        and parts[0]["pattern"] == {"String": " "}
        and any(old == re.escape(" ") and " " not in new for old, new in normalized)
    ):
        return [], WHOLE
    if kinds[-1:] == ["Metaspace"]:
        *before, space = parts
        # Older files have the one, newer ones the other.
        prefixed = "always" if space.get("add_prefix_space", True) else "never"
        prepend = space.get("prepend_scheme", prefixed)
        split = space.get("split", True)
        if space["replacement"] == MARK and not (before and (prepend != "always" or not split)):
            if not before:
                prefix = [(f"^(?=[^{MARK}])", MARK)] if prepend != "never" else []
                return [(" ", MARK), *prefix], MARKED if split else WHOLE
            if kinds == ["WhitespaceSplit", "Metaspace"]:
                begins = f"(?:^| )(?=[^ {MARK}])"
                return [(f"{SPACE}+", " "), ("^ ", ""), (begins, MARK), (" ", "")], MARKED
    raise ExportError(f"it splits texts by {' and '.join(kinds)} in a way of its own")


def unigram(model: Part) -> tuple[Tables, int]:
    """The tables, and the id of what has no piece."""
    if model.get("byte_fallback") or model.get("unk_id") is None:
        raise ExportError("its Unigram model takes unknown characters for bytes or has no <unk>")
    scores = [score for _, score in model["vocab"]]
    # https://github.com/google/sentencepiece/blob/master/src/unigram_model.cc, kUnkPenalty
    scores.append(min(scores) - 10)
    pieces = {piece: i for i, (piece, _) in enumerate(model["vocab"]) if piece}
    return trie("pieces", pieces) | {"scores": np.array(scores, np.float64)}, model["unk_id"]


def bpe(model: Part, *, byte_level: bool) -> tuple[Tables, int | None]:
    options = {
        "dropout": model.get("dropout"),
        "continuing_subword_prefix": model.get("continuing_subword_prefix"),
        "end_of_word_suffix": model.get("end_of_word_suffix"),
        "ignore_merges": model.get("ignore_merges"),
    }
    if given := [name for name, value in options.items() if value]:
        raise ExportError(f"its BPE has {given[0]}")
    ids = model["vocab"]
    pairs = [one.split(" ") if isinstance(one, str) else one for one in model["merges"]]
    tables = merges(
        [(ids[left], ids[right]) for left, right in pairs],
        [ids[left + right] for left, right in pairs],
    )
    if byte_level:
        names = BYTE_CHARACTERS * 2
    else:
        names = [f"<0x{byte:02X}>" for byte in range(256)] if model.get("byte_fallback") else []
        tables |= trie("pieces", {piece: i for piece, i in ids.items() if len(piece) == 1})
        if not model.get("fuse_unk") or model.get("unk_token") not in ids:
            raise ExportError("its BPE has no unknown piece, or one for each unknown character")
    if missing := [name for name in names if name not in ids]:
        raise ExportError(f"its BPE lacks the piece of a byte, {missing[0]}")
    tables["bytes"] = np.array([ids[name] for name in names], np.uint32)
    return tables, None if byte_level else ids[model["unk_token"]]


def wordpiece(model: Part) -> tuple[Tables, int]:
    expected = {
        "continuing_subword_prefix": CONTINUATION,
        "max_input_chars_per_word": MAX_WORDPIECE_CHARACTERS,
    }
    if other := [name for name, value in expected.items() if model[name] != value]:
        raise ExportError(f"its WordPiece has {other[0]}={model[other[0]]}")
    ids = model["vocab"]
    if model["unk_token"] not in ids:
        raise ExportError("its WordPiece has no unknown piece")
    return trie("pieces", {piece: i for piece, i in ids.items() if piece}), ids[model["unk_token"]]


def _bert(normalizer: Part) -> tuple[Replacements, Tables]:
    """Punctuation too becomes words of its own, as BertPreTokenizer would split it."""
    expected = {"clean_text": True, "handle_chinese_chars": True, "lowercase": True}
    if other := [name for name, value in expected.items() if normalizer[name] != value]:
        raise ExportError(f"it normalizes texts with {other[0]}={normalizer[other[0]]}")
    if normalizer["strip_accents"] is False:
        raise ExportError("it normalizes texts with strip_accents=False")
    characters = _characters("bert")
    become = characters["become"] | {
        chr(code): unicodedata.normalize("NFD", chr(code)) for code in HANGUL
    }
    replacements = [
        (f"[{_class(characters['removed'])}]", ""),
        (f"([{_class(characters['spaced'])}])", ALONE),
    ]
    return replacements, texts("rules", become)


def _graphemes() -> str:
    """The pattern of a character with the marks on it."""
    joined, prepended, controls = map(_class, _characters("graphemes").values())
    marked = f"[^{controls}{prepended}][{joined}]*"
    return f"[{prepended}]+(?:{marked})?|{marked}|[{controls}]"


def _characters(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(CHARACTERS.read_text(encoding="utf-8"))[name]
    return found


def _class(ranges: list[list[int]]) -> str:
    return "".join(f"{re.escape(chr(first))}-{re.escape(chr(last))}" for first, last in ranges)


def _pattern(pattern: Part) -> str:
    if "String" in pattern:
        return re.escape(str(pattern["String"]))
    if pattern["Regex"] not in KNOWN_PATTERNS:
        raise ExportError(f"it replaces the pattern {pattern['Regex']!r}")
    return str(pattern["Regex"])


def _template(content: str) -> str:
    """A replacement of `re` that stands for itself."""
    return content.replace("\\", r"\\")
