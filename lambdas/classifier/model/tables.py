"""A tokenizer's tables, which are mapped instead of loaded, so that even a million pieces are there
in a millisecond.
"""

import json
import mmap
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeAlias

Table: TypeAlias = "memoryview[Any]"
# By the names of https://huggingface.co/docs/safetensors, whose numbers are little-endian as those
# of every processor that this runs on.
_FORMATS: dict[str, Literal["I", "Q", "d"]] = {"U32": "I", "U64": "Q", "F64": "d"}
# No piece ends at this node.
NONE = 0xFFFFFFFF
CHARACTER_BITS = 21


def open_tables(path: Path) -> dict[str, Table]:
    """The one-dimensional tensors of a safetensors file, by name."""
    with path.open("rb") as file:
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    begin = 8 + int.from_bytes(content[:8], "little")
    tables = {}
    for name, entry in json.loads(bytes(content[8:begin])).items():
        if name != "__metadata__":
            start, end = entry["data_offsets"]
            tables[name] = content[begin + start : begin + end].cast(_FORMATS[entry["dtype"]])
    return tables


def find(keys: Table, key: int) -> int:
    """Where a sorted table holds the key; -1 if it doesn't."""
    i = bisect_left(keys, key)
    return i if i < len(keys) and keys[i] == key else -1


class Trie:
    """Numbers of texts, found by the characters of another text.

    Node i + 1 is reached by the i-th key: the node before it, shifted by CHARACTER_BITS, and the
    character's code point. Node 0 is the root.
    """

    def __init__(self, tables: dict[str, Table], name: str) -> None:
        self._keys = tables[f"{name}.keys"]
        self._values = tables[f"{name}.values"]

    def step(self, node: int, character: str) -> int:
        """The next node; 0 if there is none."""
        return find(self._keys, node << CHARACTER_BITS | ord(character)) + 1

    def prefixes(self, text: str, start: int = 0, node: int = 0) -> Iterator[tuple[int, int]]:
        """End and number of each text of the trie that begins at `start`, the shortest first."""
        for end in range(start, len(text)):
            node = self.step(node, text[end])
            if not node:
                return
            value = self._values[node - 1]
            if value != NONE:
                yield end + 1, value

    def get(self, text: str) -> int | None:
        """The number of this text."""
        return next((value for end, value in self.prefixes(text) if end == len(text)), None)
