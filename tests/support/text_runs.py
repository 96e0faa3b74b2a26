"""A small CLIP's text encoder in any precision, and its runs."""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from classifier.contract.bundle import TextSettings
from classifier.model.texts import MAX_KEPT_BYTES, TextRuns
from dev.weights import small_architecture, unfriendly
from export.graphs.model_file import calibrate
from export.graphs.text_inputs import run_inputs
from export.graphs.towers import write_encoder
from export.sources.source import Source
from export.tokenizers.hub_tokenizer import HubTokenizer
from tests.support.requests import DEMO

SETTINGS = TextSettings.model_validate(json.loads((DEMO / "bundle.json").read_text())["text"])
END = 49407


class CountingSession:
    """A session that remembers the shape of each run's ids."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._real = onnxruntime.InferenceSession(path, options)
        self.get_inputs = self._real.get_inputs
        self.get_outputs = self._real.get_outputs
        self.shapes: list[tuple[int, ...]] = []

    def run(self, names: Sequence[str], feed: Mapping[str, Any]) -> list[Any]:
        self.shapes.append(feed["ids"].shape)
        outputs: list[Any] = self._real.run(names, feed)
        return outputs


def starting_with(start: int | None) -> HubTokenizer:
    """A tokenizer whose texts start with this token."""
    ids = [] if start is None else [start]
    return HubTokenizer(SETTINGS.model_copy(update={"start_ids": ids}), {}, None)  # type: ignore[arg-type]


def small_source(tokenizer: HubTokenizer | None = None, **text: Any) -> Source:
    """With weights that are hard to quantise, and CLIP's own tokenizer unless another is given.
    `text`: fields of the text tower that differ.
    """
    architecture = small_architecture()
    architecture = architecture.model_copy(
        update={"text": architecture.text.model_copy(update={"layers": 2, **text})}
    )
    return Source(
        "small",
        architecture,
        unfriendly(architecture),
        {"mean": (0.5,) * 3, "std": (0.5,) * 3},
        None,  # type: ignore[arg-type]
        "none",
        tokenizer=tokenizer,
    )


def write_text(source: Source, precision: str, folder: Path) -> CountingSession:
    inputs = write_encoder(source, "text", "fp32", folder)
    if precision != "fp32":
        rng = np.random.default_rng(0)
        runs = [
            run_inputs(source, [[0, *rng.integers(1000, 49406, 9).tolist(), END]]) for _ in range(8)
        ]
        statistics = calibrate(folder / "text.onnx", inputs, runs)
        write_encoder(source, "text", precision, folder, statistics)
    return CountingSession(folder / "text.onnx")


def text_runs(
    session: CountingSession,
    threads: int = 2,
    *,
    max_kept_bytes: int = MAX_KEPT_BYTES,
) -> TextRuns:
    return TextRuns(
        session,
        SETTINGS,
        ThreadPoolExecutor(threads),
        threads,
        max_kept_bytes=max_kept_bytes,
    )
