"""The two ONNX sessions of a bundle: pixels and token ids to normalised embeddings."""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from classifier.bundle import REMEDY, BundleError, BundleManifest, read_manifest

# The most prompts in one run: the weights are read once for all of them, and the activations still fit a core's cache.
MAX_PROMPT_BATCH = 16


class Later:
    """A session that loads in a thread of its own, begun by `start` or by the first use."""

    def __init__(self, load: Callable[[], ort.InferenceSession]) -> None:
        self._load, self._loader = load, ThreadPoolExecutor(1)
        self._loading: Future[ort.InferenceSession] | None = None

    def start(self) -> "Future[ort.InferenceSession]":
        self._loading = self._loading or self._loader.submit(self._load)
        return self._loading

    def result(self) -> ort.InferenceSession:
        """Raises BundleError."""
        return self.start().result()


@dataclass(frozen=True)
class Encoders:
    """The image and the text encoder. An embedding depends on its own input alone, to the last bit, whatever shares its run."""

    folder: Path
    manifest: BundleManifest
    _image: ort.InferenceSession
    _text: Later
    _workers: ThreadPoolExecutor
    _threads: int

    @classmethod
    def load(cls, folder: Path, *, threads: int, verify_hashes: bool = False, text: bool = True) -> "Encoders":
        """Loads both encoders in parallel and runs each once; without `text`, the image encoder alone. Raises BundleError."""
        manifest = read_manifest(folder, verify_hashes=verify_hashes)
        workers = ThreadPoolExecutor(threads)
        # A prompt is too small to split over cores: each text run takes one core, each image run takes all.
        later = Later(lambda: _session(folder / "text.onnx", 1))
        if text:
            later.start()
        encoders = cls(folder, manifest, _session(folder / "image.onnx", threads), later, workers, threads)
        with ThreadPoolExecutor(1) as loader:
            size = manifest.image.size
            warm_up = loader.submit(encoders.encode_images, [np.zeros((size, size, 3), np.uint8)])
            if text:
                encoders.encode_text([[manifest.text.start_id, manifest.text.end_id]])
            warm_up.result()
        return encoders

    def prepare_text(self) -> None:
        """Begins to load the text encoder, unless that has begun; `encode_text` waits for it."""
        self._text.start()

    def encode_images(self, squares: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """Pixels [S, S, 3] to normalised embeddings [d], in order."""
        size = self.manifest.image.max_batch
        batches = (np.stack(squares[start : start + size]) for start in range(0, len(squares), size))
        return [row for batch in batches for row in self._image.run(None, {"pixels": batch})[0]]

    def encode_text(self, prompts: list[list[int]]) -> list[NDArray[np.float32]]:
        """Token ids, start and end token included, to normalised embeddings [d], in order.

        Prompts of equal length share a run: the text encoder works row by row, so a batch changes no bit of a row.
        """
        text, by_length = self.manifest.text, dict[int, list[int]]()
        padded = [ids if text.dynamic_length else ids + [text.pad_id] * (text.context_length - len(ids)) for ids in prompts]
        for i, ids in enumerate(padded):
            by_length.setdefault(len(ids), []).append(i)
        size = min(MAX_PROMPT_BATCH, math.ceil(len(prompts) / self._threads))
        batches = [indices[start : start + size] for indices in by_length.values() for start in range(0, len(indices), size)]
        session = self._text.result()
        results = self._workers.map(
            lambda batch: session.run(None, {"ids": np.array([padded[i] for i in batch], np.int64)})[0], batches
        )
        embeddings = {i: row for batch, rows in zip(batches, results, strict=True) for i, row in zip(batch, rows, strict=True)}
        return [embeddings[i] for i in range(len(prompts))]


def _session(path: Path, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads spin between operators; between runs they would take a core from whatever runs next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as err:
        raise BundleError(f"{path} can't be loaded; {REMEDY}") from err
