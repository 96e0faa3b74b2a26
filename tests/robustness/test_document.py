"""Requests that schemathesis draws from the API's document: more of them, and those at the limits
of each field, if ROBUSTNESS_SECONDS allows more time.
"""

import os
import subprocess
import sys
from pathlib import Path

from classifier.api.handler import Handler
from dev import generate_docs
from tests.support.requests import ROOT
from tools.local.serve import running

SECONDS = float(os.environ.get("ROBUSTNESS_SECONDS", "2"))
# For each operation; 15 in 90 seconds.
EXAMPLES = max(3, round(SECONDS / 6))
PHASES = "examples,fuzzing" if SECONDS < 30 else "examples,coverage,fuzzing,stateful"


def test_schemathesis_finds_nothing(deployed: Handler) -> None:
    command: list[str | Path] = [
        *(Path(sys.executable).with_name("schemathesis"), "run", ROOT / generate_docs.DOCUMENT),
        *("--checks", "all", "--suppress-health-check", "all", "--continue-on-failure"),
        *("--seed", "1", "-n", str(EXAMPLES), "--phases", PHASES),
    ]
    with running(deployed) as url:
        done = subprocess.run(
            [*command, "--url", url],
            cwd=ROOT,
            env=os.environ | {"SCHEMATHESIS_HOOKS": "tests.support.schemathesis_hooks"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert "POST" not in done.stdout.partition("FAILURES")[2]
