"""The context of one request: its deadline, its stage timings and the fields of its log line."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from classifier.contract.errors import ApiError

# Time kept back for scoring and the response. The next round of images or prompts is expected to
# take as long as the longest one so far, and at least MIN_ROUND_MS.
RESERVE_MS = 500
MIN_ROUND_MS = 1000
STAGES = ("decode", "image", "text")


class RequestContext:
    """`remaining_ms` tells how many milliseconds the request has left; `stages` collects
    milliseconds by stage.

    Every loop over a caller's input calls `check_deadline` once a round.
    """

    def __init__(self, remaining_ms: Callable[[], int]) -> None:
        self.remaining_ms = remaining_ms
        self._last_ms: int | None = None
        self._longest_ms = MIN_ROUND_MS
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

    def seconds_left(self) -> float:
        """The seconds that the request may still spend, without the reserve."""
        return (self.remaining_ms() - RESERVE_MS) / 1000

    def check_deadline(self, advice: str) -> None:
        """Raises a 503 ApiError if the time left may be too short for another round. `advice` tells
        the caller what to do.
        """
        left = self.remaining_ms()
        if self._last_ms is not None:
            self._longest_ms = max(self._longest_ms, self._last_ms - left)
        self._last_ms = left
        if left <= RESERVE_MS + self._longest_ms:
            raise ApiError(503, "out_of_time", f"Time ran out; {advice}")
