"""The composition root: reads the environment, loads the bundle and builds the handler."""

import ctypes
import logging
import math
import os
import sys
from pathlib import Path

from classifier.decoder import shared
from classifier.encoders import Encoders
from classifier.handler import Handler

# https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html: one vCPU for each 1,769 MB.
MB_PER_CPU = 1769
# https://man7.org/linux/man-pages/man2/PR_SET_DUMPABLE.2const.html
PR_SET_DUMPABLE = 4


def build(bundle: Path, *, threads: int, cors_origin: str = "*", verify_hashes: bool = False) -> Handler:
    """Loads the bundle and warms it up. Raises BundleError."""
    return Handler(Encoders.load(bundle, threads=threads, verify_hashes=verify_hashes), cors_origin=cors_origin)


def threads_for(memory: str | None) -> int:
    """The vCPUs of a function with so many MB, rounded up; outside Lambda, the CPUs of the machine."""
    return math.ceil(int(memory) / MB_PER_CPU) if memory else os.cpu_count() or 1


if "CLIP_BUNDLE" in os.environ:
    # Where the function has a log level, the runtime has set it already:
    # https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html
    if not os.environ.get("AWS_LAMBDA_LOG_LEVEL"):
        logging.getLogger().setLevel(logging.INFO)
    if sys.platform == "linux":
        # A child of the same user then can't read the environment, which holds the function's credentials, from /proc.
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    # It imports Pillow while the model is loaded.
    shared.start()
    handler = build(
        Path(os.environ["CLIP_BUNDLE"]),
        threads=threads_for(os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")),
        cors_origin=os.environ.get("CORS_ORIGIN", "*"),
    )
