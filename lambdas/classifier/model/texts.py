"""Token ids to embeddings: which texts share a run of the text encoder, and what they begin with.

A causal text encoder takes the keys and values of a beginning that an earlier run made. No bit of
an embedding depends on whether it does.
"""

import math
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from classifier.contract.bundle import TextSettings
from classifier.model.sessions import Session
from classifier.model.tokenizer import TokenIds

Floats = NDArray[np.float32]
# The most tokens in one run, or else prompts: the weights are read once for all of them, and the
# activations still fit a core's cache.
MAX_RUN_TOKENS = 128
MAX_RUN_PROMPTS = 16
# ONNX Runtime's softmax adds four at a time on ARM64, and the rest one by one. Behind the start
# token, which fills four places, a beginning of whole fours gives the same bits on its own as in
# any text, and so do lengths that differ within a four in one run.
FOUR = 4
# With fewer texts that begin in the same way, one more run costs what it saves.
MIN_SHARING = 8
# ViT-B/32's keys and values take 49 kB a token.
MAX_KEPT_BYTES = 16_000_000


def beginnings(ids: TokenIds) -> list[TokenIds]:
    """A text's, the longest first: the start token and whole fours. Two tokens are left, since a
    single row is multiplied by a kernel of its own.
    """
    return [ids[:end] for end in range(1 + (len(ids) - 3) // FOUR * FOUR, 1, -FOUR)]


def shared_beginnings(texts: Sequence[TokenIds]) -> frozenset[TokenIds]:
    """Those that are worth a run."""
    counts = Counter(beginning for ids in texts for beginning in beginnings(ids))
    return frozenset(beginning for beginning, count in counts.items() if count >= MIN_SHARING)


class TextRuns:
    """The runs of one text encoder. Keeps the beginnings that were used last."""

    def __init__(
        self,
        session: Session,
        settings: TextSettings,
        workers: ThreadPoolExecutor,
        threads: int,
        *,
        max_kept_bytes: int = MAX_KEPT_BYTES,
    ) -> None:
        self._session = session
        self._settings = settings
        self._workers = workers
        self._threads = threads
        self._max_kept_bytes = max_kept_bytes
        self._past = [entry for entry in session.get_inputs() if entry.name.startswith("past.")]
        self._all = [entry.name for entry in session.get_outputs()]
        self._kept: OrderedDict[TokenIds, Floats] = OrderedDict()

    def embed(self, texts: Sequence[TokenIds], shared: frozenset[TokenIds]) -> list[Floats]:
        """Token ids, start and end token included, to normalised embeddings [d], in order.
        `shared`: beginnings to make if texts here have them.
        """
        texts = [tuple(self._settings.padded(list(ids))) for ids in texts]
        begun = [self._longest(ids, shared) for ids in texts]
        made = self._make(set(begun))
        rows: dict[int, Floats] = {}
        for batch, (embeddings,) in self._run(texts, begun, made, ["embeddings"]):
            rows.update(zip(batch, embeddings, strict=True))
        self._keep(made)
        return [rows[i] for i in range(len(texts))]

    def _longest(self, ids: TokenIds, known: frozenset[TokenIds]) -> TokenIds:
        if not self._past:
            return ()
        found = (part for part in beginnings(ids) if part in known or part in self._kept)
        return next(found, ids[:1])

    def _make(self, wanted: set[TokenIds]) -> dict[TokenIds, Floats]:
        """Keys and values [2 layers, heads, p, width / heads] of each beginning, of which the start
        token's are in the graph.
        """
        made = {part: self._kept[part] for part in wanted if part in self._kept}
        wanted = {part for part in wanted if len(part) > 1} - made.keys()
        for length in sorted({len(part) for part in wanted}):
            level = sorted(part for part in wanted if len(part) == length)
            begun = [self._longest(part, frozenset(made)) for part in level]
            made |= {part: self._kept[part] for part in begun if part in self._kept}
            for batch, (_, *present) in self._run(level, begun, made, self._all):
                for row, i in enumerate(batch):
                    made[level[i]] = np.stack([part[row, :, 1 - length :] for part in present])
        return made

    def _run(
        self,
        texts: Sequence[TokenIds],
        begun: Sequence[TokenIds],
        made: dict[TokenIds, Floats],
        outputs: list[str],
    ) -> Iterator[tuple[list[int], list[Floats]]]:
        """The indices of each run's texts, and what the run gave."""
        groups = dict[tuple[int, int], list[int]]()
        for i, (ids, part) in enumerate(zip(texts, begun, strict=True)):
            left = len(ids) - len(part)
            groups.setdefault((len(part), left // FOUR if part else left), []).append(i)
        share = math.ceil(len(texts) / self._threads)
        batches = []
        for indices in groups.values():
            longest = max(len(texts[i]) - len(begun[i]) for i in indices)
            size = min(max(MAX_RUN_TOKENS // longest, MAX_RUN_PROMPTS), share)
            batches += [indices[at : at + size] for at in range(0, len(indices), size)]

        def results(batch: list[int]) -> list[Floats]:
            rest = [texts[i][len(begun[i]) :] for i in batch]
            length = max(map(len, rest))
            # A causal text is read at its first end token, and nothing behind that changes it.
            filled = [ids + ids[-1:] * (length - len(ids)) for ids in rest]
            feed = {
                "ids": np.array(filled, np.int64),
                **self._before([begun[i] for i in batch], made),
            }
            given: list[Floats] = self._session.run(outputs, feed)
            return given

        return zip(batches, self._workers.map(results, batches), strict=True)

    def _before(self, begun: Sequence[TokenIds], made: dict[TokenIds, Floats]) -> dict[str, Floats]:
        if not self._past:
            return {}
        if len(begun[0]) == 1:
            _, heads, _, width = self._past[0].shape
            none = np.zeros((len(begun), heads, 0, width), np.float32)
            return {entry.name: none for entry in self._past}
        stacked = np.stack([made[part] for part in begun], axis=1)
        return {entry.name: part for entry, part in zip(self._past, stacked, strict=True)}

    def _keep(self, used: dict[TokenIds, Floats]) -> None:
        self._kept |= used
        for part in used:
            self._kept.move_to_end(part)
        while sum(past.nbytes for past in self._kept.values()) > self._max_kept_bytes:
            self._kept.popitem(last=False)
