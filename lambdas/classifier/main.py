"""The composition root: reads the environment, loads the bundle and builds the handler."""

import ctypes
import logging
import math
import os
import sys
import time
from pathlib import Path

from classifier.bundle import read_manifest
from classifier.classifiers import read_classifiers
from classifier.decoder import shared
from classifier.encoders import Encoders
from classifier.handler import Handler

# https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html: one vCPU for each 1,769 MB.
MB_PER_CPU = 1769
# Lambda gives a start ten seconds: https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
START_S = 8.0
# https://man7.org/linux/man-pages/man2/PR_SET_DUMPABLE.2const.html
PR_SET_DUMPABLE = 4


def build(
    bundle: Path, *, threads: int, cors_origin: str = "*", verify_hashes: bool = False, classifiers: Path | None = None
) -> Handler:
    """Loads the bundle and the classifiers of a folder, and warms both up. Raises BundleError and ClassifierError.

    Where all classifiers are learned, the text encoder is loaded when it is first needed.
    """
    end = time.monotonic() + START_S
    files = read_classifiers(classifiers, read_manifest(bundle, verify_hashes=False)) if classifiers else {}
    text = not files or any(file.head is None for file in files.values())
    encoders = Encoders.load(bundle, threads=threads, verify_hashes=verify_hashes, text=text)
    return Handler(encoders, cors_origin=cors_origin, classifiers=files, start_ms=lambda: int((end - time.monotonic()) * 1000))


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
        classifiers=Path(os.environ["CLIP_CLASSIFIERS"]) if "CLIP_CLASSIFIERS" in os.environ else None,
    )
