"""A bundle's two encoders: pixels and token ids to normalised embeddings."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from classifier.contract.bundle import BundleError, BundleManifest, read_manifest, remedy
from classifier.model.sessions import LazySession, Session, Sessions
from classifier.model.texts import TextRuns, shared_beginnings
from classifier.model.tokenizer import TokenIds, Tokenizer


@dataclass(frozen=True)
class Encoders:
    """The image and the text encoder. An embedding depends on its own input alone, to the last bit,
    whatever shares its run.
    """

    manifest: BundleManifest
    _sessions: Sessions
    _workers: ThreadPoolExecutor

    @classmethod
    def load(
        cls, folder: Path, *, threads: int, verify_hashes: bool = False, text: bool = True
    ) -> "Encoders":
        """Loads both encoders; without `text`, the text encoder when it is first needed. Raises
        BundleError.
        """
        manifest = read_manifest(folder, verify_hashes=verify_hashes)
        return cls.of(Sessions(folder, threads, text=text), manifest).ready()

    @classmethod
    def of(cls, sessions: Sessions, manifest: BundleManifest) -> "Encoders":
        """With sessions that are loading already."""
        return cls(manifest, sessions, ThreadPoolExecutor(sessions.threads))

    def ready(self) -> "Encoders":
        """Waits for the sessions that are loading. Raises BundleError."""
        self._loaded(self._sessions.image)
        if self._sessions.text.started:
            self._loaded(self._sessions.text)
        return self

    @property
    def folder(self) -> Path:
        return self._sessions.folder

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Of the texts that `encode_text` takes."""
        return Tokenizer(self.folder, self.manifest.text)

    def prepare_text(self) -> None:
        """Begins to load the text encoder, unless that has begun; `encode_text` waits for it."""
        self._sessions.text.start()

    def encode_images(self, squares: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """Pixels [S, S, 3] to normalised embeddings [d], in order."""
        size = self.manifest.image.max_batch
        session = self._loaded(self._sessions.image)
        batches = (
            np.stack(squares[start : start + size]) for start in range(0, len(squares), size)
        )
        return [row for batch in batches for row in session.run(None, {"pixels": batch})[0]]

    def encode_text(
        self,
        prompts: Sequence[Sequence[int]],
        shared: frozenset[TokenIds] | None = None,
    ) -> list[NDArray[np.float32]]:
        """Token ids, start and end token included, to normalised embeddings [d], in order.

        `shared`: the `shared_beginnings` of these and of prompts that come later.
        """
        texts = [tuple(ids) for ids in prompts]
        return self._texts.embed(texts, shared_beginnings(texts) if shared is None else shared)

    @cached_property
    def _texts(self) -> TextRuns:
        session = self._loaded(self._sessions.text)
        return TextRuns(session, self.manifest.text, self._workers, self._sessions.threads)

    @staticmethod
    def _loaded(session: LazySession) -> Session:
        try:
            return session.result()
        except Exception as err:
            what = f"{session.path} can't be loaded"
            raise BundleError(f"{what}; {remedy(session.path.parent)}") from err
