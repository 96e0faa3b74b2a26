"""Whatever a request or an event holds: no failure, bounded time and memory, and the next one is
served as before.

ROBUSTNESS_SECONDS says for how long to draw (2 without it), ROBUSTNESS_SEED where to begin.
"""

import collections
import ctypes
import gc
import json
import os
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest

from classifier.api.handler import Handler
from tests.robustness.requests import MAKERS
from tests.support.events import REST
from tests.support.requests import Context

MAX_MEMORY_MB = 400
MAX_SECONDS = 2.0
MAX_ANSWER = 6_000_000
# Bytes of an event from which on its peak is worth a look.
LARGE = 100_000
LIMIT_S = 28.0
pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the peak of a process's memory is read from /proc"
)


def memory_mb(name: str) -> float:
    """VmRSS, what the process holds, or VmHWM, the most since `forget_peak`."""
    line = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)
    )
    return int(line.split()[1]) / 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


class Running(Context):
    """A request with LIMIT_S seconds that pass."""

    def __init__(self) -> None:
        super().__init__()
        self.end = time.monotonic() + LIMIT_S

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self.end - time.monotonic()) * 1000))


def test_no_request_or_event_takes_more_than_its_share(deployed: Handler) -> None:
    end = time.monotonic() + float(os.environ.get("ROBUSTNESS_SECONDS", "2"))
    first = seed = int(os.environ.get("ROBUSTNESS_SEED", "0"))
    good = deployed(REST, Context())["body"]
    trim = ctypes.CDLL(None).malloc_trim
    trim(0)
    level = memory_mb("VmRSS")
    counts: collections.Counter[str] = collections.Counter()
    worst: dict[str, tuple[float, int]] = {}
    failures: list[str] = []
    while time.monotonic() < end or seed < first + len(MAKERS):
        random = Random(seed)
        kind = [*MAKERS][seed % len(MAKERS)]
        event = MAKERS[kind](random)
        if is_large := len(repr(event)) > LARGE:
            # What making it has freed would hide what answering it takes.
            gc.collect()
            trim(0)
        forget_peak()
        before = memory_mb("VmRSS")
        cpu = time.process_time()
        wall = time.monotonic()
        answer: Any = deployed(event, Running())
        cpu = time.process_time() - cpu
        wall = time.monotonic() - wall
        taken = memory_mb("VmHWM") - before
        status = answer.get("statusCode", 200) if isinstance(answer, dict) else 200
        size = len(json.dumps(answer))
        counts[f"{kind} {status}"] += 1
        refused = 400 <= status < 500
        if refused and is_large:
            for name, figure in (("CPU seconds", cpu), ("MB", taken), ("bytes", float(size))):
                worst[name] = max(worst.get(name, (0, 0)), (figure, seed))
        wrong = (
            (
                status >= 500 and (status != 503 or wall < LIMIT_S - 3),
                f"status {status} after {wall:.1f} s",
            ),
            (refused and cpu > MAX_SECONDS, f"{cpu:.1f} s of CPU"),
            (refused and taken > MAX_MEMORY_MB, f"{taken:.0f} MB"),
            (refused and size > 5_000, f"a refusal of {size} bytes"),
            (size > MAX_ANSWER, f"{size} bytes"),
            (wall > LIMIT_S + 1, f"{wall:.1f} s"),
        )
        failures += [f"seed {seed} ({kind}): {message}" for is_wrong, message in wrong if is_wrong]
        if seed % 10 == 0 or failures:
            assert deployed(REST, Context())["body"] == good, f"another answer after seed {seed}"
        seed += 1
    trim(0)
    print(
        f"\n{seed - first} requests and events: {dict(sorted(counts.items()))}; worst of the"
        f" refused (figure, seed): {worst}"
    )
    assert failures == []
    assert memory_mb("VmRSS") < level + 100
