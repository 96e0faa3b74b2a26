"""What the user reads while a bundle is made."""

import sys
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")
SECONDS_BETWEEN = 10


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def progress(items: Sequence[T], task: str) -> Iterator[T]:
    """The items, with a line every ten seconds."""
    last = time.monotonic()
    for i, item in enumerate(items):
        if time.monotonic() - last > SECONDS_BETWEEN:
            last = time.monotonic()
            say(f"  {task}: {i} of {len(items)}")
        yield item
