"""The composition root: reads the environment, loads the bundle, makes the handler."""

import logging
import math
import os
from pathlib import Path

from classifier.clip import Clip
from classifier.handler import Handler

# https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html: one vCPU per 1,769 MB.
MB_PER_CPU = 1769


def build(bundle: Path, *, threads: int, cors_origin: str = "*", hashes: bool = False) -> Handler:
    """Loads the bundle and warms it up. Raises BundleError."""
    return Handler(Clip.load(bundle, threads=threads, hashes=hashes), cors_origin=cors_origin)


def threads_for(memory: str | None) -> int:
    """vCPUs of a function with so many MB, rounded up; the CPUs at hand outside Lambda."""
    return math.ceil(int(memory) / MB_PER_CPU) if memory else os.cpu_count() or 1


if "CLIP_BUNDLE" in os.environ:
    logging.getLogger().setLevel(logging.INFO)
    handler = build(
        Path(os.environ["CLIP_BUNDLE"]),
        threads=threads_for(os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")),
        cors_origin=os.environ.get("CORS_ORIGIN", "*"),
    )
