"""What travels with one request: its deadline, its stage timings and the fields of its log line."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from classifier.errors import ClientError

# Time kept back for scoring, the response, and one more batch of images or prompts.
RESERVE_MS = 1500
STAGES = ("decode", "image", "text")


class RequestContext:
    """`remaining_ms` tells how many milliseconds the request has left; `stages` collects milliseconds by stage."""

    def __init__(self, remaining_ms: Callable[[], int]) -> None:
        self._remaining_ms = remaining_ms
        self.stages = dict.fromkeys(STAGES, 0.0)
        self.log: dict[str, object] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the block's duration to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.stages[name] += (time.perf_counter() - start) * 1000

    def has_time(self) -> bool:
        return self._remaining_ms() > RESERVE_MS

    def seconds_left(self) -> float:
        """What the request may still spend, the reserve apart."""
        return (self._remaining_ms() - RESERVE_MS) / 1000

    def check_deadline(self, advice: str) -> None:
        """Raises a 503 ClientError once the request is out of time; `advice` says what to do about it."""
        if not self.has_time():
            raise ClientError(503, "out_of_time", f"Time ran out; {advice}")
