"""What both functions do as their process starts: logging, the decoder's process, the model."""

import ctypes
import logging
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from classifier.decoder import shared
from classifier.encoders import Encoders

# https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html: one vCPU for each 1,769 MB.
MB_PER_CPU = 1769
# Lambda gives a start ten seconds: https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
START_S = 8.0
# https://man7.org/linux/man-pages/man2/PR_SET_DUMPABLE.2const.html
PR_SET_DUMPABLE = 4


def threads_for(memory: str | None) -> int:
    """The vCPUs of a function with so many MB, rounded up; outside Lambda, the CPUs of the machine."""
    return math.ceil(int(memory) / MB_PER_CPU) if memory else os.cpu_count() or 1


def start_budget() -> Callable[[], int]:
    """Tells how many milliseconds are left of a start that begins now."""
    end = time.monotonic() + START_S
    return lambda: int((end - time.monotonic()) * 1000)


def prepare() -> None:
    """Logging, and the decoder's process, which imports Pillow while the model is loaded."""
    # Where the function has a log level, the runtime has set it already:
    # https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html
    if not os.environ.get("AWS_LAMBDA_LOG_LEVEL"):
        logging.getLogger().setLevel(logging.INFO)
    if sys.platform == "linux":
        # A child of the same user then can't read the environment, which holds the function's credentials, from /proc.
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    shared.start()


def load() -> Encoders:
    """The bundle that CLIP_BUNDLE names, loaded and warmed up. Raises BundleError."""
    return Encoders.load(Path(os.environ["CLIP_BUNDLE"]), threads=threads_for(os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")))
