import html
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise

import ftfy
import pytest
import regex

from classifier.contract.bundle import TOKENIZER
from classifier.contract.errors import ApiError
from classifier.model.bpe import ByteBpe
from classifier.model.encoders import Encoders
from classifier.model.tables import open_tables
from classifier.model.tokenizer import Tokenizer
from tests.support.golden import golden_tokens
from tests.support.requests import DEMO, ROOT


@pytest.fixture(scope="module")
def tokenizer(encoders: Encoders) -> Tokenizer:
    return Tokenizer(encoders.folder, encoders.manifest.text)


# Those of open_clip's texts that have invisible characters, and the same without them.
UNSEEN = {
    "zero\u200bwidth": "zerowidth",
    "soft\u00adhyphen": "softhyphen",
    "\u202eright to left": "right to left",
    "\U0001f9ff\U000e0041": "\U0001f9ff",
}


@pytest.mark.parametrize("text", sorted(golden_tokens().keys() - UNSEEN.keys()))
def test_token_ids_equal_those_of_open_clip(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.encode(text) == golden_tokens()[text]


@pytest.mark.parametrize("text", UNSEEN)
def test_a_text_with_characters_that_nobody_sees_is_the_text_without_them(
    tokenizer: Tokenizer, text: str
) -> None:
    assert tokenizer.encode(text) == tokenizer.encode(UNSEEN[text])
    assert tokenizer.encode(text) != golden_tokens()[text]


# Unicode's own list, but for what is seen or shapes a script, and for Hangul's fillers, which are
# as wide as a letter.
INVISIBLE = [
    *(0xAD, 0x34F, 0x61C, 0x17B4, 0x17B5, 0x180B, 0x180E, *range(0x200B, 0x2010)),
    *(*range(0x202A, 0x202F), *range(0x2060, 0x2070), 0xFE00, 0xFE0F, 0xFEFF, 0xFFF9),
    *(0x1BCA0, 0x1D173, 0xE0001, 0xE0041, 0xE007F),
]


@pytest.mark.parametrize("character", [chr(one) for one in INVISIBLE], ids=ascii)
def test_a_character_that_nobody_sees_is_removed_wherever_it_stands(
    tokenizer: Tokenizer, character: str
) -> None:
    for text in ("{}a big dog", "a big d{}og", "a big{} dog", "a {}big dog", "a big dog{}"):
        assert tokenizer.clean(text.format(character)) == "a big dog"
        assert tokenizer.clean(text.format(character * 3 + "\u200d\u200b")) == "a big dog"
        assert tokenizer.clean(text.format(f"&#{ord(character)};")) == "a big dog"


@pytest.mark.parametrize(
    "text",
    [
        *("می\u200cخواهم", "क्\u200dष", "ක\u0dca\u200dර", "ക\u0d4d\u200d", "ল\u09cd\u200cপ"),
        *(
            "👩\u200d👩\u200d👧",
            "👩🏽\u200d⚕\ufe0f",
            "❤\ufe0f\u200d🔥",
            "🏳\ufe0f\u200d🌈",
            "1\ufe0f\u20e3",
        ),
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    ],
)
def test_joiners_and_selectors_stay_if_they_are_part_of_the_spelling(
    tokenizer: Tokenizer, text: str
) -> None:
    assert tokenizer.clean(text) == text
    assert tokenizer.clean(f"\u200d{text}\u200e\u200c a\u200cb") == f"{text} ab"


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("dog " * 76, "label_too_long", "76 tokens"),
        (" \t&nbsp;\n", "invalid_request", "empty"),
        ("\u200b\ufeff&shy; \u200d", "invalid_request", "empty"),
        ("a <end\u200b_of_text> dog", "invalid_request", "<end_of_text>"),
        ("a <END_OF_TEXT> dog", "invalid_request", "<end_of_text>"),
        ("&lt;start_of_text&gt;", "invalid_request", "<start_of_text>"),
    ],
)
def test_a_text_that_the_model_cannot_read_is_refused(
    tokenizer: Tokenizer, text: str, code: str, message: str
) -> None:
    with pytest.raises(ApiError, match=message) as caught:
        tokenizer.encode(text, "labels.7")
    assert (caught.value.status, caught.value.code, caught.value.field) == (400, code, "labels.7")


def test_a_text_that_just_fits_the_context_is_encoded(tokenizer: Tokenizer) -> None:
    assert len(tokenizer.encode("dog " * 75)) == 77


def texts(count: int) -> Iterator[str]:
    """Of every kind: all of ASCII, words of a guide, other scripts, emoji, and repetitions."""
    rng = random.Random(0)
    words = (ROOT / "README.md").read_text(encoding="utf-8").split()
    ranges = [
        (0, 0x80),
        (0x20, 0x7F),
        (0x20, 0x250),
        (0x400, 0x500),
        (0x4E00, 0x5000),
        (0x1F300, 0x1F700),
    ]
    for _ in range(count // 4):
        yield "".join(
            chr(rng.randrange(*rng.choice(ranges[:2]))) for _ in range(rng.randrange(1, 60))
        )
        yield " ".join(rng.choice(words) for _ in range(rng.randrange(1, 12)))
        yield "".join(chr(rng.randrange(*rng.choice(ranges))) for _ in range(rng.randrange(1, 40)))
        yield rng.choice(
            ["a", "lo", "é", "😀", "!", "?!", "'s", "1", "&amp;", "'LL "]
        ) * rng.randrange(1, 60)


# As CLIP numbers single bytes (openai/CLIP, simple_tokenizer.py): printable ones first.
PRINTABLE = (*range(33, 127), *range(161, 173), *range(174, 256))
BYTE_IDS = tuple(
    map([*PRINTABLE, *(byte for byte in range(256) if byte not in PRINTABLE)].index, range(256))
)
# What it adds to a word's last byte, and the number of the first pair.
END_OF_WORD = 256
FIRST_MERGED = 512


def merged_slowly(word: str, ranks: dict[tuple[int, int], int]) -> list[int]:
    """OpenAI's way (openai/CLIP, simple_tokenizer.py): again and again the pair that comes first in
    the table, wherever it is.
    """
    ids = [BYTE_IDS[byte] for byte in word.encode()]
    ids[-1] += END_OF_WORD
    while pairs := [pair for pair in pairwise(ids) if pair in ranks]:
        best = min(pairs, key=ranks.__getitem__)
        result = list[int]()
        i = 0
        while i < len(ids):
            if tuple(ids[i : i + 2]) == best:
                result.append(ranks[best])
                i += 2
            else:
                result.append(ids[i])
                i += 1
        ids = result
    return ids


def test_cleaning_splitting_and_merging_agree_with_the_slow_way_for_every_kind_of_text(
    tokenizer: Tokenizer,
) -> None:
    settings = tokenizer._settings
    pattern = regex.compile(settings.pattern, regex.IGNORECASE)
    tables = open_tables(DEMO / TOKENIZER)
    assert tables["bytes"].tolist() == [*BYTE_IDS, *(one + END_OF_WORD for one in BYTE_IDS)]
    ranks = {
        (key >> 32, key & 0xFFFFFFFF): FIRST_MERGED + rank
        for key, rank in zip(tables["merges.keys"], tables["merges.ranks"], strict=True)
    }
    assert sorted(ranks.values()) == list(range(FIRST_MERGED, FIRST_MERGED + 48_894))
    encoded = 0
    for text in texts(8_000):
        if set(map(chr, INVISIBLE)) & set(ftfy.fix_text(text)):
            continue
        clean = " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split()).lower()
        assert tokenizer.clean(text) == clean, repr(text)
        try:
            ids = tokenizer.encode(text)
        except ApiError:
            continue
        encoded += 1
        assert ids[1:-1] == [
            one for word in pattern.findall(clean) for one in merged_slowly(word, ranks)
        ], repr(text)
    assert encoded > 7_000


def test_a_word_of_thousands_of_bytes_takes_milliseconds() -> None:
    bpe = ByteBpe(open_tables(DEMO / TOKENIZER))
    rng = random.Random(0)
    word = "".join(chr(rng.randrange(0x1F300, 0x1F700)) for _ in range(1000))
    took = []
    for _ in range(3):
        start = time.process_time()
        assert len(bpe.encode(word)) > 1000
        took.append(time.process_time() - start)
    # About 0.02 s; merging one pair after the other over the whole word takes seconds.
    assert min(took) < 0.5


def test_a_text_in_plain_ascii_imports_no_table_of_unicode() -> None:
    program = (
        "import sys; from pathlib import Path; from classifier.contract.bundle import"
        " read_manifest; from classifier.model.tokenizer import Tokenizer\nfolder ="
        " Path('models/demo'); tokenizer = Tokenizer(folder, read_manifest(folder,"
        " verify_hashes=False).text)\ntokenizer.encode(\"A dog's 2 best friends, 'LL\")\nassert not"
        " {'ftfy', 'regex', 'html'} & set(sys.modules), sys.modules\ntokenizer.encode('Caf\u00e9');"
        " assert {'ftfy', 'regex'} <= set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
