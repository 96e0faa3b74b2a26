"""HEIC for the tools: the option --heic, and the processes that they start."""

import importlib.util
import os
import sys

from classifier.images.formats import allow_heic

HELP = "take HEIC, iPhones' format, as well"
REQUIREMENTS = "lambdas/classifier/requirements-heic.txt"
_VARIABLE = "CLIP_TOOLS_HEIC"


def take_heic() -> None:
    """From now on HEIC is taken here and in the processes that this one starts."""
    if importlib.util.find_spec("pillow_heif") is None:
        sys.exit(f"HEIC needs pillow-heif: .venv/bin/pip install --no-deps -r {REQUIREMENTS}")
    os.environ[_VARIABLE] = "true"
    allow_heic()


def take_heic_as_the_parent_does() -> None:
    if _VARIABLE in os.environ:
        allow_heic()
