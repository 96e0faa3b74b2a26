"""Turns prompts into embeddings, and keeps the most recently used ones in memory."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from classifier.contract.bundle import BundleManifest
from classifier.engine.context import RequestContext
from classifier.engine.tokenized import (
    Key,
    NewPrompt,
    Prompt,
    PromptTokenizer,
    Templates,
)
from classifier.model.scoring import mean
from classifier.model.texts import shared_beginnings
from classifier.model.tokenizer import TokenIds, Tokenizer

CACHE_MAX_PROMPTS = 10_000
CACHE_MAX_BYTES = 64_000_000
# How many prompts are encoded between two checks of the deadline.
BATCH = 64


class TextEncoder(Protocol):
    """The part of the encoders that the cache uses."""

    @property
    def manifest(self) -> BundleManifest: ...

    @property
    def tokenizer(self) -> Tokenizer: ...

    def encode_text(
        self, prompts: Sequence[TokenIds], shared: frozenset[TokenIds]
    ) -> list[NDArray[np.float32]]: ...


@dataclass(frozen=True)
class EncodedPrompt(Prompt):
    """`embedding` [d]: the normalised mean over the templates."""

    embedding: NDArray[np.float32]

    @property
    def size(self) -> int:
        # Python's own objects take more than the text: about 700 bytes, and 36 for each id.
        return 700 + 4 * len(self.text) + 36 * len(self.ids) + self.embedding.nbytes


class PromptCache:
    """Forgets the least recently used prompts first, once there are too many or they take too much
    memory.
    """

    def __init__(
        self,
        encoders: TextEncoder,
        *,
        max_prompts: int = CACHE_MAX_PROMPTS,
        max_bytes: int = CACHE_MAX_BYTES,
    ) -> None:
        self._encoders = encoders
        self._prompts = PromptTokenizer(encoders.tokenizer)
        self._entries: OrderedDict[Key, EncodedPrompt] = OrderedDict()
        self._max_prompts = max_prompts
        self._max_bytes = max_bytes
        self._bytes = 0

    def lookup(
        self, text: str, templates: Templates, field: str, subject: str = "The label"
    ) -> Prompt:
        """The cached prompt, or a new one. Raises ApiError for `field`, with a message about
        `subject`.
        """
        key = templates.key_of(text)
        cached = self._entries.get(key)
        if cached is None:
            return self._prompts.lookup(text, templates, field, subject)
        self._entries.move_to_end(key)
        return cached

    def embed(
        self, prompts: Sequence[Prompt], context: RequestContext
    ) -> list[NDArray[np.float32]]:
        """One embedding [d] for each prompt. New prompts are encoded and cached until the deadline.

        Raises a 503 ApiError when time runs out; prompts finished by then stay cached.
        """
        new = list(
            {prompt.key: prompt for prompt in prompts if isinstance(prompt, NewPrompt)}.values()
        )
        queue = list(dict.fromkeys(ids for prompt in new for ids in prompt.token_ids_by_template))
        shared = shared_beginnings(queue)
        rows: dict[TokenIds, NDArray[np.float32]] = {}
        embeddings: dict[Key, NDArray[np.float32]] = {}
        for start in range(0, len(queue), BATCH):
            context.check_deadline(
                "send the same request again: the prompts finished so far are cached."
            )
            batch = queue[start : start + BATCH]
            rows.update(zip(batch, self._encoders.encode_text(batch, shared), strict=True))
            while len(embeddings) < len(new) and all(
                ids in rows for ids in new[len(embeddings)].token_ids_by_template
            ):
                prompt = new[len(embeddings)]
                # A row is a view that keeps its whole batch in memory.
                embedding = mean([rows[ids] for ids in prompt.token_ids_by_template]).copy()
                embeddings[prompt.key] = embedding
                self._store(EncodedPrompt(prompt.key, prompt.text, prompt.ids, embedding))
        return [
            prompt.embedding if isinstance(prompt, EncodedPrompt) else embeddings[prompt.key]
            for prompt in prompts
        ]

    def _store(self, prompt: EncodedPrompt) -> None:
        self._entries[prompt.key] = prompt
        self._bytes += prompt.size
        while len(self._entries) > self._max_prompts or self._bytes > self._max_bytes:
            self._bytes -= self._entries.popitem(last=False)[1].size
