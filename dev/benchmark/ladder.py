"""Measures every precision and prints the tables of docs/performance.md: make benchmark-ladder.

Accuracy on a small CLIP, with random weights as they are initialised and with unfriendly ones. Time
and size on ViT-B/32 with random weights, on which the time doesn't depend: the precisions run in
turns, and a figure is the median ratio to fp32's time in its turn.
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

from classifier.contract.bundle import BundleManifest, Weights
from classifier.model.encoders import Encoders
from dev.weights import Arrays, plain, small_architecture, unfriendly
from export import pipeline
from export.graphs.model_file import calibrate
from export.graphs.precisions import STEPS
from export.graphs.text_inputs import run_inputs
from export.graphs.towers import write_encoder
from export.judging import check
from export.judging.ladder import Ladder
from export.judging.material import pictures, sentences
from export.sources.architecture import Architecture
from export.sources.source import Source, read_table

MODEL = "ViT-B-32-quickgelu"
WIDE = 8  # images in one run, as max_batch has it
IMAGES = 60
SETTINGS = {"mean": (0.48, 0.46, 0.41), "std": (0.27, 0.26, 0.28)}
RANDOM = Weights(source="random", revision=None, sha256="")


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = os.cpu_count() or 1
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def small_ladder(
    folder: Path, arrays: Arrays, target: str, count: int
) -> tuple[Ladder, BundleManifest]:
    """A small CLIP's, as `ladder_of` makes it."""
    source = Source("small", small_architecture(), arrays, SETTINGS, RANDOM, "none")
    return ladder_of(source, folder, target, count)


def ladder_of(
    source: Source, folder: Path, target: str, count: int
) -> tuple[Ladder, BundleManifest]:
    """The fp32 encoders in the folder, to be judged on `count` images."""
    inputs = {
        encoder: write_encoder(source, encoder, "fp32", folder) for encoder in ("image", "text")
    }
    manifest = pipeline.describe(source, "random", folder)

    def load() -> Encoders:
        pipeline.write_settings(folder, manifest)
        return Encoders.load(folder, threads=os.cpu_count() or 1)

    reference, served, _ = check.with_numpy(load(), source, pictures(count), sentences())
    return Ladder(folder, source, manifest.text, inputs, load, reference, served, target), manifest


def measure_accuracy() -> None:
    print(
        "| Weights | Encoder | Precision | Least cosine | Best label equal | at least | Change,"
        " 99th percentile | Holds |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for weights in (plain, unfriendly):
        with tempfile.TemporaryDirectory() as name:
            ladder, _ = small_ladder(Path(name), weights(small_architecture()), "arm64", IMAGES)
            for encoder in ("image", "text"):
                aside = ladder.set_aside(encoder)
                calibrated = ladder.calibrate(encoder, aside / f"{encoder}.onnx")
                for step in [step for step in STEPS if step != "fp32"]:
                    verdict = ladder.try_step(
                        encoder, step, calibrated, ladder.served, required=True
                    ).verdict
                    cosine = verdict.image_cosine if encoder == "image" else verdict.text_cosine
                    print(
                        f"| {weights.__name__} | {encoder} | `{step}` | {cosine:.5f} |"
                        f" {verdict.equal:.2%} | {verdict.equal_at_least:.2%} |"
                        f" {verdict.change:.4f} | {'yes' if verdict.holds else 'no'} |",
                        flush=True,
                    )
                for path in aside.iterdir():
                    path.replace(Path(name) / path.name)
                aside.rmdir()


def measure_images(model: str, count: int) -> None:
    """The accuracy of a model's image tower, beside a small text tower, on unfriendly weights."""
    listed = Architecture.model_validate(read_table()["architectures"][model])
    architecture = small_architecture().model_copy(
        update={"image": listed.image, "dimension": listed.dimension}
    )
    source = Source(model, architecture, unfriendly(architecture), SETTINGS, RANDOM, "none")
    with tempfile.TemporaryDirectory() as name:
        ladder, _ = ladder_of(source, Path(name), "x86_64", count)
        calibrated = ladder.calibrate("image", ladder.set_aside("image") / "image.onnx")
        turned = "rotated" if calibrated.source.rotated else "not rotated"
        for step in [step for step in STEPS if step != "fp32"]:
            verdict = ladder.try_step("image", step, calibrated, ladder.served).verdict
            print(
                f"| {model} | {turned} | `{step}` | {verdict.image_cosine:.5f} |"
                f" {verdict.equal_at_least:.2%} | {verdict.change:.4f} |"
                f" {'yes' if verdict.holds else 'no'} |",
                flush=True,
            )
            if verdict.holds:
                break


def measure_time(rounds: int, layers: int) -> None:
    architecture = Architecture.model_validate(read_table()["architectures"][MODEL])
    assert architecture.image
    towers = {"image": architecture.image, "text": architecture.text}
    shortened = {
        name: tower.model_copy(update={"layers": layers}) for name, tower in towers.items()
    }
    architecture = architecture.model_copy(update=shortened)
    source = Source(MODEL, architecture, plain(architecture), SETTINGS, RANDOM, "none")
    rng = np.random.default_rng(0)
    runs = {
        "one image": ("image", {"pixels": rng.integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)}),
        "each of eight": (
            "image",
            {"pixels": rng.integers(0, 256, (WIDE, 224, 224, 3), dtype=np.uint8)},
        ),
        "nine texts of 8 tokens": (
            "text",
            run_inputs(source, rng.integers(0, 49406, (9, 8)).tolist()),
        ),
    }
    spent: dict[tuple[str, str], list[float]] = {}
    sizes = dict[tuple[str, str], int]()
    result = dict[str, dict[str, float]]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sessions = {}
        for encoder in ("image", "text"):
            inputs = write_encoder(source, encoder, "fp32", folder)
            shown = [
                {"pixels": np.asarray(p.resize((224, 224)))[None]}
                for p in pictures(4, "calibration")
            ]
            texts = [run_inputs(source, rng.integers(0, 49406, (1, 8)).tolist()) for _ in range(4)]
            statistics = calibrate(
                folder / f"{encoder}.onnx",
                inputs,
                shown if encoder == "image" else texts,
                moments=False,
            )
            for step in STEPS:
                write_encoder(source, encoder, step, folder, statistics)
                sizes[encoder, step] = sum(
                    (folder / f"{encoder}{suffix}").stat().st_size
                    for suffix in (".onnx", ".weights")
                )
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
    print(
        "| Precision | image.onnx | text.onnx | "
        + " | ".join(f"{run}, of fp32's time" for run in runs)
        + " |"
    )
    print("|---|---|---|" + "---|" * len(runs))
    for step in STEPS:
        ratios = [
            float(np.median(np.array(spent[run, step]) / np.array(spent[run, "fp32"])))
            for run in runs
        ]
        print(
            f"| `{step}` | {sizes['image', step] / 1e6:.0f} MB | {sizes['text', step] / 1e6:.0f}"
            " MB | " + " | ".join(f"{ratio:.2f}" for ratio in ratios) + " |"
        )
        result[step] = {run: round(float(np.median(spent[run, step])), 1) for run in runs}
    print(json.dumps(result), file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument(
        "--layers",
        type=int,
        default=12,
        help="of each encoder; fewer for a quick look at the ratios",
    )
    parser.add_argument("--only", choices=["accuracy", "time"])
    parser.add_argument("--image", metavar="MODEL", help="accuracy of this model's images alone")
    arguments = parser.parse_args()
    if arguments.image:
        measure_images(arguments.image, 48)
        return
    if arguments.only != "time":
        measure_accuracy()
    if arguments.only != "accuracy":
        measure_time(arguments.rounds, arguments.layers)


if __name__ == "__main__":
    main()
