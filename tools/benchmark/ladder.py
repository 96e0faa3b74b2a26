"""Measures every precision on ViT-B/32 in its true size and prints docs/performance.md's table: python -m tools.benchmark.ladder.

Weights are random: the time doesn't depend on them. Steps run in turns, and the figures are ratios to fp32's time in the same turn.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime

from classifier.bundle import Weights
from export.architecture import Architecture
from export.graph import STEPS, calibrate
from export.source import Source, read_table
from export.towers import write_encoder
from export.verify import pictures
from tests.support.weights import plain

MODEL = "ViT-B-32-quickgelu"
WIDE = 8  # images in one run, as max_batch has it


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = os.cpu_count() or 1
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    rounds = parser.parse_args().rounds
    architecture = Architecture.model_validate(read_table()["architectures"][MODEL])
    settings = {"mean": (0.48, 0.46, 0.41), "std": (0.27, 0.26, 0.28)}
    source = Source(
        MODEL, architecture, plain(architecture), settings, Weights(source="random", revision=None, sha256=""), "none"
    )
    rng = np.random.default_rng(0)
    runs = {
        "one image": ("image", {"pixels": rng.integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)}),
        "each of eight": ("image", {"pixels": rng.integers(0, 256, (WIDE, 224, 224, 3), dtype=np.uint8)}),
        "nine texts of 8 tokens": ("text", {"ids": rng.integers(0, 49406, (9, 8))}),
    }
    spent: dict[tuple[str, str], list[float]] = {}
    sizes, result = dict[tuple[str, str], int](), dict[str, dict[str, float]]()
    with tempfile.TemporaryDirectory() as name:
        folder, sessions = Path(name), {}
        for encoder in ("image", "text"):
            inputs = write_encoder(source, encoder, "fp32", folder)
            shown = [{"pixels": np.asarray(p.resize((224, 224)))[None]} for p in pictures(4, "calibration")]
            texts = [{"ids": rng.integers(0, 49406, (1, 8))} for _ in range(4)]
            largest = calibrate(folder / f"{encoder}.onnx", inputs, shown if encoder == "image" else texts)
            for step in STEPS:
                write_encoder(source, encoder, step, folder, largest)
                sizes[encoder, step] = (folder / f"{encoder}.onnx").stat().st_size
                sessions[encoder, step] = session(folder / f"{encoder}.onnx")
                print(f"written: {encoder} in {step}", file=sys.stderr, flush=True)
        for round_ in range(rounds + 1):
            for run, (encoder, feed) in runs.items():
                for step in STEPS:
                    times = []
                    for _ in range(4):
                        began = time.perf_counter()
                        sessions[encoder, step].run(None, feed)
                        times.append(1000 * (time.perf_counter() - began))
                    if round_:
                        spent.setdefault((run, step), []).append(float(np.median(times[1:])))
    print("| Precision | image.onnx | text.onnx | " + " | ".join(f"{run}, of fp32's time" for run in runs) + " |")
    print("|---|---|---|" + "---|" * len(runs))
    for step in STEPS:
        ratios = [float(np.median(np.array(spent[run, step]) / np.array(spent[run, "fp32"]))) for run in runs]
        print(f"| `{step}` | {sizes['image', step] / 1e6:.0f} MB | {sizes['text', step] / 1e6:.0f} MB | "
              + " | ".join(f"{ratio:.2f}" for ratio in ratios) + " |")  # fmt: skip
        result[step] = {run: round(float(np.median(spent[run, step])), 1) for run in runs}
    print(json.dumps(result), file=sys.stderr)


if __name__ == "__main__":
    main()
