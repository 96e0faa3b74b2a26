"""The command line of a program behind a target of the Makefile, in the words of its user."""

import argparse
import os
import re
from pathlib import Path
from typing import NoReturn

from classifier.contract.request.query import Question
from tools.bundles import BUNDLE_HELP
from tools.heic import HELP

# Options that are variables of the Makefile.
VARIABLES = "bundle|classifier|exclude|image|labels|output|port|request"


class MakeParser(argparse.ArgumentParser):
    """`prog`: such as make classify."""

    def error(self, message: str) -> NoReturn:
        if message == "the following arguments are required: pictures":
            message = f"say where the images are: {self.prog} PICTURES=folder"
        else:
            message = re.sub(
                rf"^argument --({VARIABLES}):", lambda found: f"{found[1].upper()}:", message
            )
            message += f"; all options: {self.prog} OPTIONS=--help"
        self.exit(2, f"error: {message}\n")


def add_shared(parser: argparse.ArgumentParser) -> None:
    """The options of all programs that read a folder of images."""
    parser.add_argument("--bundle", type=Path, help=BUNDLE_HELP)
    parser.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="PATTERN",
        help='pass over files and folders such as "*.gif" or "2019/*"; may be repeated',
    )
    affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if affinity else os.cpu_count() or 1
    parser.add_argument(
        "--processes", type=int, default=cores, help=f"default: this machine's {cores} cores"
    )
    parser.add_argument("--heic", action="store_true", help=HELP)


def split(text: str) -> list[str]:
    """The parts between commas, of which an empty one is none."""
    return [part.strip() for part in text.split(",") if part.strip()]


def single_name(question: Question) -> str:
    """A note on a question to which every image has the same answer; empty for any other."""
    shares = question.combine == "sum" or len(question.prompts) == 1
    if question.multi_label or len(question.names) != 1 or not shares:
        return ""
    return (
        f"Note: probabilities add up to 1, so a single name gets 1.0 for every image. Add another"
        f' to {question.names[0]!r}, such as "something else", or ask with multi_label.'
    )
