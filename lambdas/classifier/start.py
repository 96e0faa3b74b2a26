"""The beginning of both functions' start, before they import anything large: logging, the decoder's
process, the model's loading.
"""

import ctypes
import importlib.util
import logging
import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from classifier.images.decoder import default_decoder

if TYPE_CHECKING:
    from classifier.model.sessions import Sessions

# https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html: one vCPU for each 1,769
# MB.
MB_PER_CPU = 1769
# Lambda gives a start ten seconds:
# https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
START_S = 8.0
# https://man7.org/linux/man-pages/man2/PR_SET_DUMPABLE.2const.html
PR_SET_DUMPABLE = 4


def threads_for(memory: str | None) -> int:
    """The vCPUs that a function's MB of memory give, rounded up; outside Lambda, the machine's."""
    return math.ceil(int(memory) / MB_PER_CPU) if memory else os.cpu_count() or 1


@dataclass(frozen=True)
class Start:
    """A start that has begun: `sessions` are loading, and `remaining_ms` tells how many
    milliseconds it may still take.
    """

    sessions: "Sessions"
    remaining_ms: Callable[[], int]


def begin(bundle: Path, threads: int, *, text: bool = True) -> Start:
    """Begins to load a bundle's encoders; nothing is checked yet. Without `text` the text encoder
    loads when it is first needed.
    """
    end = time.monotonic() + START_S
    # Its import takes as long as the decoder's process takes to start.
    from classifier.model.sessions import Sessions

    return Start(Sessions(bundle, threads, text=text), lambda: int((end - time.monotonic()) * 1000))


def begin_from_environment() -> Start | None:
    """Starts the slow parts before the caller imports the rest: the decoder's process, and the
    bundle that CLIP_BUNDLE names.

    None if it names none.
    """
    if "CLIP_BUNDLE" not in os.environ:
        return None
    # If the function has a log level, the runtime has set it already:
    # https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html
    if not os.environ.get("AWS_LAMBDA_LOG_LEVEL"):
        logging.getLogger().setLevel(logging.INFO)
    if sys.platform == "linux":
        # A child of the same user then can't read the environment, which holds the function's
        # credentials, from /proc.
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    default_decoder.start()
    # It is in the image only if the deployment takes HEIC.
    if importlib.util.find_spec("pillow_heif"):
        from classifier.images.formats import allow_heic

        allow_heic()
    # Its threads would take memory, and every product of numpy's here is small.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    # Otherwise pydantic looks for plugins in every installed package.
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
    return begin(
        Path(os.environ["CLIP_BUNDLE"]),
        threads_for(os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")),
        # The image is built with this if all its classifiers are learned, and so encode no text.
        text=os.environ.get("CLIP_TEXT_ENCODER") != "later",
    )
