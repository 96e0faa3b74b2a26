"""Measures a start, from the process to its first answer, step by step: `make benchmark-start`, on
a quiet machine.

Warm, and as root cold too: with the kernel's caches of files dropped, as a new environment on
Lambda finds them. Linux alone.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dev.benchmark import charts
from dev.benchmark.first_answer import start
from dev.benchmark.machine import machine, say

BUNDLE = Path("build/ViT-B-32-random")
CHART = Path("docs/start.svg")


def drop_caches() -> None:
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def once(bundle: Path, *, cold: bool, text: str = "start") -> dict[str, Any]:
    if cold:
        drop_caches()
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "found.json"
        began = time.time()
        seconds = start(
            "dev.benchmark.start_probe.handler",
            CLIP_BUNDLE="",
            BENCHMARK_BUNDLE=str(bundle),
            BENCHMARK_STARTED=str(began),
            BENCHMARK_FOUND=str(found),
            CLIP_CLASSIFIERS="classifiers" if text == "start" else folder,
            CLIP_TEXT_ENCODER=text,
        )
        result: dict[str, Any] = json.loads(found.read_text())
    spans = {
        name: (first - began, last - began) for name, (first, last) in result.pop("spans").items()
    }
    return result | {"seconds": seconds, "spans": spans}


def middle(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The run with the median time, so that its steps fit together, and the medians of the other
    figures.
    """
    chosen = sorted(runs, key=lambda run: run["seconds"])[len(runs) // 2]
    return dict(chosen) | {
        name: statistics.median(run[name] for run in runs)
        for name in ("files", "ready_mb", "peak_mb", "read_mb")
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=BUNDLE)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--chart", type=Path, default=CHART)
    parser.add_argument(
        "--text",
        choices=("start", "later"),
        default="start",
        help="when the text encoder loads; later: without classifiers, as if all were learned",
    )
    given = parser.parse_args()
    states = {"warm": False} | ({"cold": True} if os.geteuid() == 0 else {})
    if len(states) == 1:
        say("Only root can drop the kernel's caches, so no cold start is measured.")
    runs: dict[str, list[dict[str, Any]]] = {state: [] for state in states}
    once(given.bundle, cold=False, text=given.text)
    for _ in range(given.rounds):
        for state, cold in states.items():
            runs[state].append(once(given.bundle, cold=cold, text=given.text))
    found = {state: middle(several) for state, several in runs.items()}
    for state, run in found.items():
        print(
            f"{state}: {run['seconds']:.2f} s, {run['read_mb']:.0f} MB read, {run['files']:.0f}"
            f" files opened by Python, {run['ready_mb']:.0f} MB when ready, peak"
            f" {run['peak_mb']:.0f} MB"
        )
        for name, (first, last) in sorted(run["spans"].items(), key=lambda item: item[1]):
            print(f"  {1000 * first:5.0f} to {1000 * last:5.0f} ms  {name}")
    charts.save(charts.start(found, machine()), given.chart)


if __name__ == "__main__":
    main()
