"""Writes a tokenizer's tables as classifier.model.tables reads them."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from classifier.contract.bundle import TOKENIZER
from classifier.model.tables import CHARACTER_BITS, NONE

Tables = dict[str, NDArray[Any]]


def write_tables(tables: Tables, folder: Path) -> None:
    (folder / TOKENIZER).write_bytes(save(tables))


def trie(name: str, numbers: Mapping[str, int]) -> Tables:
    """Of texts, none of them empty, and their numbers."""
    texts = list(numbers)
    lengths = np.array([len(text) for text in texts])
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
    begins = np.cumsum(lengths) - lengths
    values = np.array(list(numbers.values()), np.uint32)
    # A level of the trie at a time: the nodes of a level are numbered after those before it, and by
    # their keys, so that all keys are sorted.
    nodes = np.zeros(len(texts), np.uint64)
    keys: list[NDArray[np.uint64]] = []
    ends: list[NDArray[np.uint32]] = []
    count = 0
    left = np.arange(len(texts))
    depth = 0
    while len(left):
        character = codes[begins[left] + depth].astype(np.uint64)
        level, index = np.unique(nodes[left] << CHARACTER_BITS | character, return_inverse=True)
        nodes[left] = count + 1 + index
        numbered = np.full(len(level), NONE, np.uint32)
        depth += 1
        ending = lengths[left] == depth
        numbered[index[ending]] = values[left[ending]]
        keys.append(level)
        ends.append(numbered)
        count += len(level)
        left = left[~ending]
    return {f"{name}.keys": np.concatenate(keys), f"{name}.values": np.concatenate(ends)}


def merges(pairs: Iterable[Sequence[int]], merged: Iterable[int]) -> Tables:
    """Of pairs of ids, the first to merge first, and what each becomes."""
    ids = np.array(list(pairs), np.uint64).reshape(-1, 2)
    keys = ids[:, 0] << 32 | ids[:, 1]
    # Of a pair that stands there twice, the last counts, as in Hugging Face's library.
    keys, last = np.unique(keys[::-1], return_index=True)
    ranks = (len(ids) - 1 - last).astype(np.uint32)
    return {
        "merges.keys": keys,
        "merges.ranks": ranks,
        "merges.values": np.array(list(merged), np.uint32)[ranks],
    }


def texts(name: str, rules: Mapping[str, str]) -> Tables:
    """Of texts that become others: a trie, where each result ends, and the results' characters."""
    results = list(rules.values())
    return {
        **trie(name, {text: i for i, text in enumerate(rules)}),
        f"{name}.ends": np.cumsum([len(result) for result in results]).astype(np.uint32),
        f"{name}.texts": np.frombuffer("".join(results).encode("utf-32-le"), np.uint32),
    }
