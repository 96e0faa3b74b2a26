"""The machine that a benchmark runs on, and the progress that it prints."""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path


def say(text: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {text}", file=sys.stderr, flush=True)


def cpu_lines(*keys: str) -> list[str]:
    """What /proc/cpuinfo says of the first processor under these keys."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return [
        line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() in keys
    ][:1]


def flags() -> list[str]:
    known = {"avx2", "avx_vnni", "avx512_vnni", "amx_int8", "asimddp"}
    return [
        flag for line in cpu_lines("flags", "Features") for flag in line.split() if flag in known
    ]


def machine() -> str:
    name = (cpu_lines("model name") or ["unknown"])[0]
    return f"{os.cpu_count()} cores, {name}, {' '.join(flags())}, {datetime.now(UTC):%d %B %Y}"
