"""What a tower takes, measured in a process of its own: its load, its memory, and its runs in turns
with the default's.
"""

import statistics
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from classifier.model.sessions import LazySession, Session

LEAST_ROUNDS = 4
LOADS = 3
SECONDS = 1.0


def probe(pipe: Connection, tower: Path, feed: Any, default: Path, default_feed: Any) -> None:
    """Sends processor time on one thread: `load_s`, `ms` of a run and `times` the default's, and
    the `memory_mb` that the load took.
    """
    before = memory_mb()
    session, load = loaded(tower)
    memory = memory_mb() - before
    # The first load may pay for what the machine does beside it.
    for _ in range(LOADS - 1):
        del session
        session, again = loaded(tower)
        load = min(load, again)
    other = LazySession(default, 1).result()
    spent: list[float] = []
    ratios: list[float] = []
    run(other, default_feed)
    run(session, feed)
    ends = time.monotonic() + SECONDS
    while len(spent) < LEAST_ROUNDS or time.monotonic() < ends:
        standard = run(other, default_feed)
        spent.append(run(session, feed))
        ratios.append(spent[-1] / standard)
    pipe.send(
        {
            "times": float(f"{statistics.median(ratios):.3g}"),
            "ms": float(f"{1000 * statistics.median(spent):.3g}"),
            "load_s": round(load, 3),
            "memory_mb": round(memory),
        }
    )


def loaded(tower: Path) -> tuple[Session, float]:
    """The session, and the processor time that loading it took."""
    began = time.process_time()
    session = LazySession(tower, 1).result()
    return session, time.process_time() - began


def run(session: Session, feed: Any) -> float:
    began = time.process_time()
    session.run(None, feed)
    return time.process_time() - began


def memory_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024
