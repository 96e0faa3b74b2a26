"""Measures what an image costs in bulk: images a run, threads against processes, compared with
calls of the API. `make benchmark-bulk`

Every figure is an image's time on the processor and by the clock, as a ratio to the first of its
table; the rounds take turns.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from classifier.contract.request.parsing import parse_options
from classifier.engine.engine import Engine
from classifier.model.encoders import Encoders
from classifier.storage.batches import IMAGES_A_RUN, Batch
from classifier.storage.items import Item
from dev.images import encoded, soft_image
from tools.folders import Folder
from tools.local.serve import load, running
from tools.workers import FolderStore, unlimited

RUNS = (1, 2, 4, 8, 16)
API = "examples/classify.py against make serve"
LABELS = ["a dog", "a cat", "a pizza", "a star"]


def write(folder: Path, count: int) -> None:
    """Thumbnails of 440x248, each with bytes of its own."""
    different = [encoded(soft_image(440, 248, seed=seed), "JPEG", quality=85) for seed in range(20)]
    for i in range(count):
        (folder / f"{i:05}.jpg").write_bytes(different[i % 20] + str(i).encode())


class Watch:
    """What the machine and the processes below this one do meanwhile, from Linux's /proc, ten times
    a second.
    """

    def __enter__(self) -> "Watch":
        self._seconds: dict[int, float] = {}
        self._past = self._processes()
        self._over = threading.Event()
        self._start = time.perf_counter()
        self._before = self._machine()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.clock = time.perf_counter() - self._start
        self._over.set()
        self._thread.join()
        idle, total = (
            after - before for after, before in zip(self._machine(), self._before, strict=True)
        )
        self.busy = 1 - idle / total
        self.own = sum(self._seconds.values()) / self.clock / (os.cpu_count() or 1)

    def _machine(self) -> tuple[int, int]:
        fields = [
            int(value)
            for value in Path("/proc/stat").read_text(encoding="ascii").split("\n")[0].split()[1:]
        ]
        return fields[3] + fields[4], sum(fields)

    def _processes(self) -> dict[int, tuple[int, float]]:
        """Parent and seconds of the processor, by process."""
        found = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = (
                    path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
                )
                found[int(path.parent.name)] = (
                    int(fields[1]),
                    (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"),
                )
        return found

    def _sample(self) -> None:
        while not self._over.wait(0.1):
            found = self._processes()
            for pid, (_, seconds) in found.items():
                above = pid
                while above and above != os.getpid():
                    above = found.get(above, (0, 0.0))[0]
                if above or pid in self._seconds:
                    # What was there before this began has a past.
                    self._seconds[pid] = seconds - self._past.get(pid, (0, 0.0))[1]


def images_a_run(
    bundle: Path, folder: Path, items: list[Item], rounds: int, threads: int
) -> dict[int, float]:
    """Median seconds an image by the clock, by the number of images a run."""
    encoders = Encoders.load(bundle, threads=threads)
    classifier = Engine(encoders)
    parsed = parse_options({"labels": LABELS})
    found: dict[int, list[float]] = {size: [] for size in RUNS}
    for _ in range(rounds):
        for size in RUNS:
            start = time.perf_counter()
            store = FolderStore(folder)
            Batch(classifier, "m", parsed, items, store, unlimited, size).classify()
            found[size].append((time.perf_counter() - start) / len(items))
    return {size: statistics.median(times) for size, times in found.items()}


def watched(*arguments: str) -> Watch:
    with Watch() as watch:
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return watch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=Path("models/demo"))
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text) / "pictures"
        folder.mkdir()
        write(folder, given.count)
        items = list(FolderStore(folder).items(Folder(folder).files()))
        for threads in (1, 2):
            times = images_a_run(
                given.bundle, folder, items[: min(160, given.count)], given.rounds, threads
            )
            ratios = ", ".join(f"{size}: {times[size] / times[1]:.2f}" for size in RUNS)
            print(
                f"images a run, {threads} thread(s), time an image as a share of one a run"
                f" ({1000 * times[1]:.1f} ms): {ratios}"
            )
        print(f"the default is {IMAGES_A_RUN}")

        def desk(processes: int) -> Watch:
            output = str(Path(text) / f"{time.time_ns()}.jsonl")
            options = [
                "--labels",
                ",".join(LABELS),
                "--bundle",
                str(given.bundle),
                "--processes",
                str(processes),
            ]
            return watched("-m", "tools.classify", str(folder), *options, "--output", output)

        def api() -> Watch:
            with running(load(given.bundle)) as url:
                options = ["--labels", ",".join(LABELS), "--output", "json"]
                return watched("examples/classify.py", "--endpoint", url, str(folder), *options)

        ways: dict[str, Callable[[], Watch]] = {
            "make classify, two processes": lambda: desk(2),
            "make classify, one process": lambda: desk(1),
            API: api,
        }
        found: dict[str, list[Watch]] = {name: [] for name in ways}
        for _ in range(given.rounds):
            for name, way in ways.items():
                found[name].append(way())
        base = statistics.median(watch.clock for watch in found[API])
        for name, watches in found.items():
            clock, own, busy = (
                statistics.median(getattr(watch, field) for watch in watches)
                for field in ("clock", "own", "busy")
            )
            print(
                f"{name}: {given.count / clock:.0f} images a second, {base / clock:.2f} times the"
                f" API's; of the cores {100 * own:.0f} % are its own, {100 * busy:.0f} % are busy"
            )


if __name__ == "__main__":
    main()
