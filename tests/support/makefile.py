"""What the Makefile says about its commands."""

import os
import subprocess
from functools import cache

from tests.support.requests import ROOT

SHOWN = 'shown: ; @$(foreach command,$(COMMANDS),echo "$(command) $(TAKES_$(command))";)\n'


def outside_make() -> dict[str, str]:
    """The environment without the words of a make that runs the tests."""
    return {name: text for name, text in os.environ.items() if not name.startswith("MAKE")}


@cache
def takes() -> dict[str, set[str]]:
    """The variables that each command takes."""
    done = subprocess.run(
        ["make", "--silent", "-f", "Makefile", "-f", "-", "shown"],
        cwd=ROOT,
        env=outside_make(),
        input=SHOWN,
        capture_output=True,
        text=True,
        check=True,
    )
    return {
        command: set(variables)
        for command, *variables in map(str.split, done.stdout.strip().splitlines())
    }
