"""The composition root: reads the environment, loads the bundle and builds the handler."""

import logging
import math
import os
from pathlib import Path

from classifier.decoder import shared
from classifier.encoders import Encoders
from classifier.handler import Handler

# https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html: one vCPU for each 1,769 MB.
MB_PER_CPU = 1769


def build(bundle: Path, *, threads: int, cors_origin: str = "*", verify_hashes: bool = False) -> Handler:
    """Loads the bundle and warms it up. Raises BundleError."""
    return Handler(Encoders.load(bundle, threads=threads, verify_hashes=verify_hashes), cors_origin=cors_origin)


def threads_for(memory: str | None) -> int:
    """The vCPUs of a function with so many MB, rounded up; outside Lambda, the CPUs of the machine."""
    return math.ceil(int(memory) / MB_PER_CPU) if memory else os.cpu_count() or 1


if "CLIP_BUNDLE" in os.environ:
    logging.getLogger().setLevel(logging.INFO)
    # It imports Pillow while the model is loaded.
    shared.start()
    handler = build(
        Path(os.environ["CLIP_BUNDLE"]),
        threads=threads_for(os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")),
        cors_origin=os.environ.get("CORS_ORIGIN", "*"),
    )
