"""Pieces of words, against slow ways that are plain to see."""

import random
from collections.abc import Iterator
from math import inf, isclose
from pathlib import Path

import numpy as np
import pytest

from classifier.model.bpe import CharacterBpe
from classifier.model.charsmap import Charsmap
from classifier.model.pieces import Unigram, WordPiece
from classifier.model.tables import Table, Trie, open_tables
from export.tokenizers.tables import Tables, merges, texts, trie, write_tables

LETTERS = "abcé犬\U0001f600"


def words(count: int, seed: int, longest: int = 7) -> Iterator[str]:
    rng = random.Random(seed)
    for _ in range(count):
        yield "".join(rng.choice(LETTERS) for _ in range(rng.randint(1, longest)))


def mapped(folder: Path, tables: Tables) -> dict[str, Table]:
    write_tables(tables, folder)
    return open_tables(folder / "tokenizer.safetensors")


def test_a_trie_finds_every_text_that_another_begins_with(tmp_path: Path) -> None:
    numbers = {word: i for i, word in enumerate(dict.fromkeys(words(300, 0)))}
    made = Trie(mapped(tmp_path, trie("pieces", numbers)), "pieces")
    for text in words(500, 1, 20):
        for start in range(len(text)):
            expected = [
                (end, numbers[text[start:end]])
                for end in range(start + 1, len(text) + 1)
                if text[start:end] in numbers
            ]
            assert list(made.prefixes(text, start)) == expected
        assert made.get(text) == numbers.get(text)


UNKNOWN = 0


def splits(
    word: str, pieces: dict[str, float], unknown: float
) -> Iterator[tuple[float, list[str]]]:
    """Every way to split a word, with its score."""
    if not word:
        yield 0.0, []
    for end in range(1, len(word) + 1):
        score = pieces.get(word[:end], unknown if end == 1 else -inf)
        if score > -inf:
            for rest, after in splits(word[end:], pieces, unknown):
                yield score + rest, [word[:end], *after]


def test_unigram_takes_the_likeliest_split(tmp_path: Path) -> None:
    rng = random.Random(2)
    pieces = {word: -rng.uniform(1, 9) for word in words(60, 3, 3) if "犬" not in word}
    names = ["<unk>", *pieces]
    scores = [-9.0, *pieces.values(), -19.0]
    tables = trie("pieces", {name: i for i, name in enumerate(names)})
    unigram = Unigram(mapped(tmp_path, tables | {"scores": np.array(scores)}), UNKNOWN)
    unknown = 0
    for word in words(300, 4):
        best, split = max(splits(word, pieces, scores[-1]))
        ids = [names.index(piece) if piece in pieces else UNKNOWN for piece in split]
        fused = [one for i, one in enumerate(ids) if one or not i or ids[i - 1]]
        got = unigram.encode(word)
        unknown += UNKNOWN in got
        # Of equally likely ones either will do.
        assert got == fused or isclose(best, sum(scores[i] for i in got if i)), word
    assert unknown > 50


def test_wordpiece_takes_the_longest_piece_each_time_or_the_word_is_unknown(tmp_path: Path) -> None:
    starts = {word: i + 1 for i, word in enumerate(dict.fromkeys(words(30, 5, 3)))}
    inside = {f"##{word}": i + 50 for i, word in enumerate(dict.fromkeys(words(20, 6, 2)))}
    wordpiece = WordPiece(mapped(tmp_path, trie("pieces", starts | inside)), UNKNOWN)

    def slowly(word: str) -> list[int]:
        ids: list[int] = []
        rest = word
        while rest:
            known, prefix = (inside, "##") if ids else (starts, "")
            fits = [end for end in range(1, len(rest) + 1) if prefix + rest[:end] in known]
            if not fits:
                return [UNKNOWN]
            ids.append(known[prefix + rest[: fits[-1]]])
            rest = rest[fits[-1] :]
        return ids

    results = [(wordpiece.encode(word), slowly(word)) for word in words(500, 7)]
    assert all(got == expected for got, expected in results)
    assert 50 < sum(got == [UNKNOWN] for got, _ in results) < 450
    letter = next(letter for letter in LETTERS if letter in starts and f"##{letter}" in inside)
    assert len(wordpiece.encode(letter * 100)) > 1
    assert wordpiece.encode(letter * 101) == [UNKNOWN]


@pytest.mark.parametrize("with_bytes", [True, False])
def test_characters_without_a_piece_are_bytes_or_one_unknown_piece(
    with_bytes: bool, tmp_path: Path
) -> None:
    pieces = {letter: i + 1 for i, letter in enumerate("abcé")}
    byte_ids = np.arange(100, 356, dtype=np.uint32) if with_bytes else np.zeros(0, np.uint32)
    # ab, then ca, then abca; and two more ways to abca, of which the second comes too late.
    pairs = merges([(1, 2), (3, 1), (10, 11), (1, 12)], [10, 11, 12, 12])
    tables = trie("pieces", pieces) | pairs | {"bytes": byte_ids}
    bpe = CharacterBpe(mapped(tmp_path, tables), UNKNOWN)
    assert bpe.encode("abcaéab") == [12, 4, 10]
    unknown = [*(100 + byte for byte in "犬犬".encode())] if with_bytes else [UNKNOWN]
    assert bpe.encode("ab犬犬c") == [10, *unknown, 3]


def test_the_first_rule_of_a_grapheme_counts_and_the_rest_is_dropped(tmp_path: Path) -> None:
    rules = {"ﬁ": "fi", "e\u0301": "é", "Ａ": "A", "x": "", "ϒ": "Υ"}
    charsmap = Charsmap(mapped(tmp_path, texts("rules", rules)), "[^\u0301\u0302][\u0301\u0302]*")
    for text, expected in {
        "ﬁn": "fin",
        "e\u0301e": "ée",
        "e\u0301\u0302": "é",
        "ϒ\u0301": "Υ",
        "e\u0302": "e\u0302",
        "xyx": "y",
        # Of six bytes, and so looked up a character at a time.
        "Ａ\u0301\u0302": "A\u0301\u0302",
        "": "",
    }.items():
        assert charsmap.apply(text) == expected, ascii(text)
