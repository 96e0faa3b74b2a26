"""Generated files against the whole handler: ROBUSTNESS_SECONDS and ROBUSTNESS_SEED in the
environment; the summary goes to standard output.
"""

import ctypes
import gc
import json
import os
import random
import resource
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from classifier.api.handler import Handler
from classifier.images.decoder import MAX_SECONDS, default_decoder
from tests.robustness.files import CHEAP, KINDS
from tests.support.images import encoded, soft_image
from tests.support.requests import Context, ask, base64_of, event

SECONDS = float(os.environ.get("ROBUSTNESS_SECONDS", "2"))
SEED = int(os.environ.get("ROBUSTNESS_SEED", "1"))
LABELS = ["a dog", "a cat"]
# Above the level before: allocators keep some.
MAX_GROWTH_MB = 100


def resident(number: int | str = "self") -> float:
    """MB; 0 without /proc."""
    status = Path(f"/proc/{number}/status")
    return (
        int(status.read_text().partition("VmRSS:")[2].split()[0]) / 1024 if status.exists() else 0
    )


@pytest.mark.parametrize("kind", KINDS)
def test_no_file_of_this_kind_harms_the_handler(handler: Handler, kind: str) -> None:
    known = event({"image_data": base64_of(encoded(soft_image(90, 70))), "labels": LABELS})
    expected = handler(known, Context())["body"]
    before = resident()
    answers = Counter[int]()
    slowest = 0.0
    share = SECONDS * (1.5 if kind in CHEAP else 0.5) / len(KINDS)
    deadline = time.monotonic() + share
    number = 0
    while time.monotonic() < deadline:
        case = f"{SEED}/{kind}/{number}"
        file = KINDS[kind](random.Random(case))
        used = resource.getrusage(resource.RUSAGE_SELF)
        began = time.monotonic()
        status, body, _ = ask(handler, event({"image_data": base64_of(file), "labels": LABELS}))
        after = resource.getrusage(resource.RUSAGE_SELF)
        spent = time.monotonic() - began
        own = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
        assert status in (200, 400, 413, 415), (case, body)
        assert len(json.dumps(body)) < 2000, case
        # The handler's own part; the decoder's process has MAX_SECONDS of its own, on a busy
        # machine twice as long by the clock.
        assert own < 2, (case, own)
        assert spent < 2 * MAX_SECONDS + 2 + own, (case, spent)
        if number % 20 == 0 or status == 400:
            assert handler(known, Context())["body"] == expected, case
        answers[status] += 1
        slowest = max(slowest, spent)
        number += 1
    assert handler(known, Context())["body"] == expected
    # What making the files has freed.
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    assert resident() - before < MAX_GROWTH_MB
    assert resident(default_decoder.worker_id) < 300
    print(
        f"\n{kind}: {number} files, {dict(answers)}, slowest {slowest:.2f} s",
        file=sys.__stdout__,
        flush=True,
    )
