"""A process of its own for each side that is measured."""

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

from dev.benchmark.operations import Operations


def worker(pipe: Connection, make: Callable[[bytes], Operations], data: bytes) -> None:
    operations = make(data)
    pipe.send([])
    while True:
        name, argument, times = pipe.recv()
        spent = []
        for _ in range(times):
            began = time.perf_counter()
            result = operations[name](argument)
            spent.append(
                result if isinstance(result, float) else (time.perf_counter() - began) * 1000
            )
        pipe.send(spent)


class Side:
    """A process of its own with what it can do."""

    def __init__(self, make: Callable[[bytes], Operations], data: bytes) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=worker, args=(theirs, make, data), daemon=True)
        self._process.start()
        theirs.close()
        self._pipe.recv()

    def __call__(self, name: str, argument: object, times: int) -> list[float]:
        self._pipe.send((name, argument, times))
        return list(self._pipe.recv())

    def end(self) -> None:
        self._process.terminate()
        self._process.join()
