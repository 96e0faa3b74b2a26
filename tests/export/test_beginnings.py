"""Beginnings that texts share: run once, and no bit of an embedding tells."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from classifier.model.texts import TextRuns, beginnings, shared_beginnings
from classifier.model.tokenizer import TokenIds
from export.graphs.precisions import STEPS
from export.judging import forward
from tests.support.text_runs import (
    END,
    CountingSession,
    small_source,
    starting_with,
    text_runs,
    write_text,
)

START = 49406
Write = Callable[[str], CountingSession]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Write:
    """The small CLIP's session in a precision."""
    sessions: dict[str, CountingSession] = {}

    def write(precision: str) -> CountingSession:
        if precision not in sessions:
            folder = tmp_path_factory.mktemp(precision)
            sessions[precision] = write_text(small_source(), precision, folder)
        sessions[precision].shapes.clear()
        return sessions[precision]

    return write


def texts_of(
    template: Sequence[int], lengths: Sequence[int], after: Sequence[int] = ()
) -> list[TokenIds]:
    """Texts of a template with labels of so many tokens."""
    rng = np.random.default_rng(0)
    return [
        (START, *template, *rng.integers(1000, 49406, length).tolist(), *after, END)
        for length in lengths
    ]


def embed(runs: TextRuns, texts: Sequence[TokenIds]) -> np.ndarray:
    return np.stack(runs.embed(texts, shared_beginnings(texts)))


LENGTHS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3]
CASES = {
    "a template": texts_of([320, 1125, 539, 320], LENGTHS),
    "a template with text behind its label": texts_of([320, 1125, 539, 320], LENGTHS, [525, 3]),
    "a template that begins with its label": texts_of([], LENGTHS, [525, 320, 1125]),
    "a long template": texts_of(range(2000, 2027), LENGTHS),
    "all that fits": texts_of(range(2000, 2074), [1] * 9),
    "texts that others begin with": [
        (START, *range(2000, 2000 + length), END) for length in (*range(1, 30), 74)
    ],
}


@pytest.mark.parametrize("precision", STEPS)
def test_neither_company_nor_history_changes_a_bit(precision: str, written: Write) -> None:
    session = written(precision)
    every = [ids for case in CASES.values() for ids in case]
    alone = np.stack([text_runs(session).embed([ids], frozenset())[0] for ids in every])
    session.shapes.clear()
    runs = text_runs(session)
    np.testing.assert_array_equal(embed(runs, every), alone)
    full = sum(np.prod(shape) for shape in session.shapes)
    np.testing.assert_array_equal(embed(runs, every[::-1]), alone[::-1])
    for case in CASES.values():
        expected = [alone[every.index(ids)] for ids in case]
        np.testing.assert_array_equal(embed(text_runs(session, 1), case), expected)
        np.testing.assert_array_equal(embed(runs, case), expected)
    begun = frozenset(beginning for ids in every for beginning in beginnings(ids))
    np.testing.assert_array_equal(text_runs(session).embed(every, begun), alone)
    for ids, expected in zip(every, alone, strict=True):
        np.testing.assert_array_equal(runs.embed([ids], frozenset())[0], expected)
    assert full < 0.8 * sum(len(ids) - 1 for ids in every)


def test_a_beginning_is_run_once_and_kept(written: Write) -> None:
    session = written("fp32")
    runs = text_runs(session)
    texts = texts_of([320, 1125, 539, 320], [2] * 20)
    embed(runs, texts)
    assert sorted(session.shapes) == [(1, 4), (10, 3), (10, 3)]
    session.shapes.clear()
    embed(runs, texts[:1])
    assert session.shapes == [(1, 3)]


def test_few_texts_do_not_pay_for_their_beginning(written: Write) -> None:
    session = written("fp32")
    embed(text_runs(session, 1), texts_of([320, 1125, 539, 320], [2] * 7))
    assert session.shapes == [(7, 7)]


def test_lengths_that_differ_within_a_four_share_a_run(written: Write) -> None:
    session = written("fp32")
    embed(text_runs(session, 1), texts_of([], [1, 2, 3, 4, 5, 6, 7]))
    assert sorted(session.shapes) == [(1, 8), (2, 3), (4, 7)]


def test_beginnings_of_many_templates_share_runs(written: Write) -> None:
    session = written("fp32")
    templates = [range(start, start + 9) for start in range(3000, 3016)]
    texts = [ids for template in templates for ids in texts_of(template, [2] * 8)]
    embed(text_runs(session, 1), texts)
    assert session.shapes == [(16, 8), *[(32, 4)] * 4]


def test_kept_beginnings_are_bounded_and_forgotten_ones_made_again(written: Write) -> None:
    session = written("int14")
    one = 4 * 4 * 2 * 2 * 128  # four tokens' keys and values in two layers
    runs = text_runs(session, max_kept_bytes=one)
    first, second = (texts_of([start, 5, 6, 7], [2] * 8) for start in (10, 11))
    expected = embed(runs, first)
    embed(runs, second)
    session.shapes.clear()
    np.testing.assert_array_equal(embed(runs, first), expected)
    assert (1, 4) in session.shapes


def test_two_tokens_stay_behind_a_beginning() -> None:
    ids = tuple(range(20))
    assert beginnings(ids[:6]) == []
    assert beginnings(ids[:7]) == [ids[:5]]
    assert beginnings(ids[:15]) == [ids[:13], ids[:9], ids[:5]]


@pytest.mark.parametrize(
    ("start", "fields"),
    [(0, {"pool": "eos", "eos_id": END}), (None, {}), (7, {"activation": "tanh_gelu"})],
    ids=["a hub's tokenizer", "no start token", "another activation"],
)
def test_texts_of_other_tokenizers_agree_with_the_definition(
    start: int | None, fields: dict[str, object], tmp_path: Path
) -> None:
    source = small_source(starting_with(start), **fields)
    session = write_text(source, "fp32", tmp_path)
    first = () if start is None else (start,)
    texts = [(*first, *ids[1:]) for ids in CASES["a long template"] + CASES["a template"]]
    rows = embed(text_runs(session), texts)
    expected = forward.embed_texts(source.architecture, source.arrays, texts)
    assert (rows * expected).sum(1).min() > 0.99999
    runs = text_runs(session)
    for ids, row in zip(texts, rows, strict=True):
        np.testing.assert_array_equal(runs.embed([ids], frozenset())[0], row)
