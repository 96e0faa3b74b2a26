"""The real encoders, counting their work."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier.model.encoders import Encoders
from classifier.model.tokenizer import TokenIds


class CountingEncoders:
    """Encodes with the real encoders, under a manifest that may differ in some fields.

    `images`: how many squares each call encoded; `lengths`: how many tokens each encoded prompt
    had; `prepared`: how often the text encoder was asked to load.
    """

    def __init__(self, real: Encoders, **manifest_fields: Any) -> None:
        self.tokenizer = real.tokenizer
        self.manifest = real.manifest.model_copy(update=manifest_fields)
        self.real = real
        self.images: list[int] = []
        self.lengths: list[int] = []
        self.prepared = 0

    def encode_images(self, squares: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        self.images.append(len(squares))
        return self.real.encode_images(squares)

    def prepare_text(self) -> None:
        self.prepared += 1
        self.real.prepare_text()

    def encode_text(
        self, prompts: Sequence[TokenIds], shared: frozenset[TokenIds]
    ) -> list[NDArray[np.float32]]:
        self.lengths += map(len, prompts)
        return self.real.encode_text(prompts, shared)
