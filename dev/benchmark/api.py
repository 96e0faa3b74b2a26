"""Measures the handler on ViT-B/32 against the original method, and writes build/benchmark.json and
docs/benchmark.svg: `make benchmark`.

Both sides answer the same events in processes of their own, in turns, so that a slow minute of the
machine is one for both. The weights are random: speed depends on the precision alone, not on them.
Three bundles are measured: the one that `make model` would make for this machine of weights as hard
to quantise as trained ones, the fastest one, and fp32. An endpoint is measured with `make
benchmark-endpoint`.
"""

import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from dev.benchmark import charts
from dev.benchmark.bundles import CHECKPOINT, FASTEST, FP32, HOLDING, make_models
from dev.benchmark.fidelity import decode_fidelity
from dev.benchmark.first_answer import start
from dev.benchmark.machine import machine, say
from dev.benchmark.memory import memory
from dev.benchmark.operations import (
    COUNTS,
    Operations,
    images,
    limits,
    open_clip_once,
    original,
    ours,
    thumbnail,
)
from dev.benchmark.side import Side

JSON = Path("build/benchmark.json")
SVG = Path("docs/benchmark.svg")
ROUNDS = 6
WIDTH = 768
LAYERS = 12
TOKENS = 50
PATCHES = 49
PATCH = 3072
# Products of the image tower: patches, 11 layers of 12 d² a token with attention, the last layer
# for one token behind its attention.
IMAGE_GFLOP = 2e-9 * (
    PATCHES * PATCH * WIDTH
    + (LAYERS - 1) * TOKENS * 12 * WIDTH**2
    + TOKENS * 3 * WIDTH**2
    + 9 * WIDTH**2
    + LAYERS * 2 * TOKENS**2 * WIDTH
    + WIDTH * 512
)
holding, fastest, fp32 = (functools.partial(ours, bundle) for bundle in (HOLDING, FASTEST, FP32))
# Who measures it, the operation, its argument, runs a round.
Case = tuple[Callable[[bytes], Operations], str, object, int]
CASES: dict[str, Case] = {
    **{f"original_{n}_labels_ms": (original, "twice", n, 2) for n in COUNTS},
    **{f"original_without_duplicate_{n}_labels_ms": (original, "once", n, 2) for n in COUNTS},
    "open_clip_fp32_once_9_labels_ms": (open_clip_once, "encode", "both", 2),
    "open_clip_fp32_image_ms": (open_clip_once, "encode", "image", 5),
    **{f"cached_{n}_labels_ms": (holding, "cached", n, 12) for n in COUNTS},
    **{f"new_{n}_labels_ms": (holding, "new", n, 6) for n in COUNTS},
    **{
        f"{name}_{operation}_9_labels_ms": (side, operation, 9, 6)
        for name, side in (("int8", fastest), ("fp32", fp32))
        for operation in ("cached", "new")
    },
    "outside_encoders_ms": (holding, "outside", None, 12),
    **{
        f"image_{name}_ms": (side, "image", None, 12)
        for name, side in (("holding", holding), ("int8", fastest), ("fp32", fp32))
    },
    "new_1000_labels_ms": (holding, "new", 1000, 1),
    "again_1000_labels_ms": (holding, "again", None, 4),
    "images_32_in_one_call_ms": (holding, "batch", 32, 1),
    "images_32_single_calls_ms": (holding, "singles", 32, 1),
    "product_int8_ms": (limits, "int8", None, 8),
    "product_fp32_ms": (limits, "fp32", None, 3),
    "jpeg_12_megapixels_ms": (images, "served", None, 2),
    "jpeg_12_megapixels_plain_ms": (images, "plain", None, 2),
    "pixels_in_their_own_process_ms": (images, "apart", None, 30),
    "pixels_in_the_same_process_ms": (images, "here", None, 30),
}


def measure(cases: Mapping[str, Case], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each run, by figure, of sides that take turns."""
    data = thumbnail()
    spent = {name: list[float]() for name in cases}
    sides = {make: Side(make, data) for make in {case[0] for case in cases.values()}}
    for make, name, argument, _ in cases.values():
        sides[make](name, argument, 1)
    for round_ in range(rounds):
        say(f"round {round_ + 1} of {rounds}")
        for figure, (make, name, argument, times) in cases.items():
            # The first run after another process' turn finds its caches gone; spinning threads have
            # gone to sleep.
            spent[figure] += sides[make](name, argument, times + (times > 1))[times > 1 :]
    for side in sides.values():
        side.end()
    return spent


def figures(rounds: int, calls: int) -> dict[str, float | str]:
    """All of them, by name with its unit: medians, and quartiles of those that vary."""
    spent = measure(CASES, rounds)
    found = dict[str, float | str]()
    for name, values in spent.items():
        found[name] = round(float(np.median(values)), 2)
        for part, share in (("quartile_1", 0.25), ("quartile_3", 0.75)):
            found[name.removesuffix("_ms") + f"_{part}_ms"] = round(
                float(np.quantile(values, share)), 2
            )

    def ratio(one: str, other: str) -> float:
        return round(float(found[one]) / float(found[other]), 2)

    for count in COUNTS:
        found[f"cached_{count}_labels_times_faster"] = ratio(
            f"original_{count}_labels_ms", f"cached_{count}_labels_ms"
        )
        found[f"new_{count}_labels_times_faster"] = ratio(
            f"original_{count}_labels_ms", f"new_{count}_labels_ms"
        )
    for name in ("int8", "fp32"):
        for operation in ("cached", "new"):
            figure = f"{name}_{operation}_9_labels"
            found[f"{figure}_times_faster"] = ratio("original_9_labels_ms", f"{figure}_ms")
    for name in ("holding", "int8", "fp32"):
        found[f"image_{name}_times_faster_than_open_clip"] = ratio(
            "open_clip_fp32_image_ms", f"image_{name}_ms"
        )
    found["images_32_to_single_calls_ratio"] = ratio(
        "images_32_in_one_call_ms", "images_32_single_calls_ms"
    )
    found["again_1000_to_cached_9_labels_ratio"] = ratio(
        "again_1000_labels_ms", "cached_9_labels_ms"
    )
    found["jpeg_12_megapixels_times_faster"] = ratio(
        "jpeg_12_megapixels_plain_ms", "jpeg_12_megapixels_ms"
    )
    for kind in ("int8", "fp32"):
        found[f"product_{kind}_gflops"] = round(
            2e-9 * 2048**3 / (float(found[f"product_{kind}_ms"]) / 1000), 1
        )
        found[f"image_{kind}_gflops"] = round(
            IMAGE_GFLOP / (float(found[f"image_{kind}_ms"]) / 1000), 1
        )
        found[f"image_{kind}_share_of_product_percent"] = round(
            100 * ratio(f"image_{kind}_gflops", f"product_{kind}_gflops"), 1
        )
    say("starting both sides, in turns")
    starts = [
        (
            start("classifier.main.handler"),
            start("dev.benchmark.baseline.handler", BENCHMARK_CHECKPOINT=str(CHECKPOINT)),
        )
        for _ in range(rounds + 1)
    ][1:]
    found["start_to_first_answer_s"], found["original_start_to_first_answer_s"] = (
        round(float(np.median(one)), 3) for one in zip(*starts, strict=True)
    )
    found["start_times_faster"] = ratio(
        "original_start_to_first_answer_s", "start_to_first_answer_s"
    )
    say(f"memory over {calls} mixed calls")
    early, late = memory(calls)
    found["peak_memory_after_a_third_of_calls_mb"] = round(early)
    found["peak_memory_mb"] = round(late)
    return found | {name: round(value, 5) for name, value in decode_fidelity().items()}


def main() -> None:
    say("making the models")
    make_models()
    from classifier.contract.bundle import read_manifest

    precision = read_manifest(HOLDING, verify_hashes=False).precision
    found = {
        "machine": machine(),
        "rounds": ROUNDS,
        "image_precision": precision["image"],
        "text_precision": precision["text"],
        **figures(ROUNDS, 1000),
    }
    JSON.write_text(json.dumps(found, indent=2) + "\n")
    charts.save(charts.comparison(found), SVG)
    print(json.dumps(found, indent=2))
    say(f"written: {JSON}, {SVG}")


if __name__ == "__main__":
    main()
