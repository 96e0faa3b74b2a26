"""What a run of the text encoder takes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.sources.source import Source


def start_id(source: Source) -> int | None:
    """The token that every text starts with, if a causal text encoder runs at a text's own length,
    without a class token behind: its keys and values are in the graph.
    """
    text = source.architecture.text
    # CLIP's own tokenizer ends its vocabulary with the start and the end token.
    start = source.tokenizer.settings.start_ids if source.tokenizer else [text.vocabulary - 2]
    begins = text.causal and text.own_length and not text.embed_cls
    return start[0] if begins and len(start) == 1 else None


def run_inputs(source: Source, ids: Sequence[Sequence[int]]) -> dict[str, NDArray[Any]]:
    """For texts of one length, start token included, of which no beginning was made before."""
    text = source.architecture.text
    rows = np.array(ids, np.int64)
    if start_id(source) is None:
        return {"ids": rows}
    none = np.zeros((len(rows), text.heads, 0, text.width // text.heads), np.float32)
    return {"ids": rows[:, 1:], **{f"past.{j}": none for j in range(2 * text.layers)}}
