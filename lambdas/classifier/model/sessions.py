"""The two ONNX sessions of a bundle, loaded in threads. A start imports it first, so it needs ONNX
Runtime alone.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import onnxruntime as ort

Session: TypeAlias = ort.InferenceSession


class LazySession:
    """A session that loads in a thread of its own, begun by `start` or by the first use."""

    def __init__(self, path: Path, threads: int) -> None:
        self.path = path
        self._threads = threads
        self._loader = ThreadPoolExecutor(1)
        self._loading: Future[Session] | None = None

    def start(self) -> "Future[Session]":
        self._loading = self._loading or self._loader.submit(_session, self.path, self._threads)
        return self._loading

    @property
    def started(self) -> bool:
        return self._loading is not None

    def result(self) -> Session:
        """Raises what loading raised."""
        return self.start().result()


class Sessions:
    """A bundle's sessions. They load from now on; nothing is checked yet."""

    def __init__(self, folder: Path, threads: int, *, text: bool = True) -> None:
        """Without `text` the text encoder loads when it is first needed."""
        self.folder = folder
        self.threads = threads
        self.image = LazySession(folder / "image.onnx", threads)
        # A prompt is too small to split over cores: each text run takes one core, each image run
        # takes all.
        self.text = LazySession(folder / "text.onnx", 1)
        self.image.start()
        if text:
            self.text.start()


def _session(path: Path, threads: int) -> Session:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads spin between operators; between runs they would take a core from whatever runs next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return Session(path, options, providers=["CPUExecutionProvider"])
