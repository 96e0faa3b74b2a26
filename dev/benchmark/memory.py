"""The most memory that a handler takes."""

import base64
import itertools
import multiprocessing
import os
from multiprocessing.connection import Connection
from pathlib import Path

from dev.benchmark.ask import Context, event
from dev.benchmark.bundles import HOLDING
from dev.benchmark.operations import LABELS, thumbnail, unseen


def probe_memory(pipe: Connection, calls: int) -> None:
    """Peak memory in MB after a third of the mixed calls and after all of them."""
    from classifier.main import build
    from classifier.start import begin

    handler = build(begin(HOLDING, os.cpu_count() or 1))
    words = itertools.count()
    sizes = [(440, 248), (440, 248), (440, 248), (1280, 720), (440, 248), (4000, 3000)]
    images = [base64.b64encode(thumbnail(*size)).decode() for size in sizes]
    for i in range(calls):
        labels = LABELS if i % 2 else unseen(words, 5 + i % 20)
        assert (
            handler(event(image_data=images[i % len(images)], labels=labels), Context())[
                "statusCode"
            ]
            == 200
        )
        if i + 1 in (calls // 3, calls):
            # Not getrusage: that counts what the parent held when it forked.
            status = Path("/proc/self/status").read_text()
            pipe.send(int(status.partition("VmHWM:")[2].split()[0]) / 1024)


def memory(calls: int) -> tuple[float, float]:
    spawn = multiprocessing.get_context("spawn")
    mine, theirs = spawn.Pipe()
    process = spawn.Process(target=probe_memory, args=(theirs, calls))
    process.start()
    theirs.close()
    figures = mine.recv(), mine.recv()
    process.join()
    return figures
