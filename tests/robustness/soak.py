"""Good and hostile requests in AWS's runtime client for some minutes: nothing but expected answers,
and memory that stays. Run by: make soak
"""

import argparse
import collections
import json
import platform
import time
from collections.abc import Callable
from random import Random
from typing import Any

from tests.integration.test_runtime import environment
from tests.robustness.bodies import ENCODED
from tests.robustness.requests import MAKERS
from tests.support.emulator import emulator_path
from tests.support.events import REST
from tests.support.requests import DEMO

# Memory may grow until the remembered prompts take their 64 MB.
MAX_GROWTH_MB = 100


def new_labels(random: Random) -> Any:
    labels = [f"thing {random.random()}" for _ in range(random.randint(1, 20))]
    return REST | {"body": json.dumps({"image_data": ENCODED, "labels": labels})}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument(
        "--known-labels",
        action="store_true",
        help="send no new labels, so that nothing new is remembered",
    )
    arguments = parser.parse_args()
    random = Random(0)
    counts = collections.Counter[str]()
    levels = list[float]()
    makers: dict[str, Callable[[Random], Any]] = {
        "mutated": MAKERS["mutated"],
        "raw": MAKERS["raw"],
        "event": MAKERS["event"],
        "good": lambda _: REST,
    }
    if not arguments.known_labels:
        makers["new labels"] = new_labels
    with environment(
        emulator_path(platform.machine()),
        "tests.robustness.soak_app.handler",
        CLIP_BUNDLE=str(DEMO),
    ) as invoke:
        good = invoke(REST)["body"]
        calls = 0
        report = 0.0
        end = time.monotonic() + 60 * arguments.minutes
        while time.monotonic() < end:
            kind = random.choice([*makers])
            answer = invoke(makers[kind](random))
            status = answer.get("statusCode", 200) if isinstance(answer, dict) else 200
            counts[f"{kind} {status}"] += 1
            assert status < 500, (kind, answer)
            if time.monotonic() > report:
                assert invoke(REST)["body"] == good
                levels.append(invoke({"memory": True})["memory_mb"])
                print(f"{calls} calls: {levels[-1]:.1f} MB", flush=True)
                report = time.monotonic() + max(10.0, 6 * arguments.minutes)
            calls += 1
    print(dict(sorted(counts.items())))
    assert max(levels) < levels[0] + MAX_GROWTH_MB, levels


if __name__ == "__main__":
    main()
