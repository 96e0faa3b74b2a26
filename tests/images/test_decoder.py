"""The decoder's process: its limits, its end, and that one bad image harms no other."""

import os
import re
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from classifier.contract.bundle import ImageSettings
from classifier.contract.errors import ApiError
from classifier.images.decoder import (
    MAX_LOST_SECONDS,
    MAX_SECONDS,
    MIN_SECONDS,
    DecodeBudget,
    Decoder,
)
from classifier.images.formats import ImageFile
from classifier.images.opened_image import open_image
from tests.support.images import encoded, png, soft_image

SETTINGS = ImageSettings(size=64, interpolation="bicubic", resize_mode="shortest", max_batch=1)
GOOD = encoded(soft_image(90, 70))


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    decoder = Decoder()
    yield decoder
    decoder.close()


def works(decoder: Decoder) -> bool:
    return np.array_equal(
        open_image(GOOD).decode(SETTINGS, decoder=decoder).squares[0],
        open_image(GOOD).decode(SETTINGS).squares[0],
    )


def scans(count: int, side: int) -> bytes:
    """A progressive JPEG whose scans each pass over all of its blocks."""
    plain = encoded(soft_image(16, 16, 1), "JPEG", progressive=True)
    at = plain.index(b"\xff\xc2")
    header = plain[: at + 5] + struct.pack(">HH", side, side) + plain[at + 9 :]
    first = header.index(b"\xff\xda")
    return header[:first] + header[first:-2] * count + b"\xff\xd9"


def test_an_image_that_takes_too_long_is_refused_and_the_next_one_is_served(
    decoder: Decoder,
) -> None:
    assert works(decoder)
    slow = ImageFile("JPEG", 7000, 7000, scans(90, 7000))
    budget = DecodeBudget(left=60, most=0.5)
    with pytest.raises(ApiError, match="too much time or memory") as caught:
        decoder.decode(slow, SETTINGS, "crop", budget)
    assert caught.value.status == 400
    # Of the processor it had 0.5 seconds, by the clock at most 1.
    assert 0.4 < budget.lost < 3
    assert works(decoder)


def test_images_that_waste_a_requests_time_leave_little_to_the_next(decoder: Decoder) -> None:
    budget = DecodeBudget(left=60)
    assert budget.seconds() == (MAX_SECONDS, 2 * MAX_SECONDS)
    budget.lost = MAX_LOST_SECONDS
    assert budget.seconds() == (MIN_SECONDS, 2 * MIN_SECONDS)
    assert len(open_image(GOOD).decode(SETTINGS, None, budget, decoder).squares) == 1


def test_a_request_without_time_gets_a_503(decoder: Decoder) -> None:
    assert works(decoder)
    with pytest.raises(ApiError) as caught:
        decoder.decode(
            ImageFile("JPEG", 7000, 7000, scans(90, 7000)), SETTINGS, "crop", DecodeBudget(left=0.3)
        )
    assert (caught.value.status, caught.value.code) == (503, "out_of_time")


@pytest.mark.skipif(
    sys.platform == "darwin", reason="macOS refuses RLIMIT_AS; time alone holds there"
)
def test_an_image_that_takes_too_much_memory_is_refused_and_the_next_one_is_served(
    decoder: Decoder,
) -> None:
    # `inspect` would refuse this number of pixels; the process holds without it.
    rows = zlib.compress(bytes(1 << 20))
    container = ImageFile("PNG", 30_000, 30_000, png(30_000, 30_000, 8, 6, rows))
    with pytest.raises(ApiError, match=r"too much (time or )?memory"):
        decoder.decode(container, SETTINGS, "crop", DecodeBudget())
    assert works(decoder)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_worker_that_crashes_is_replaced(decoder: Decoder, number: int) -> None:
    assert works(decoder)
    os.kill(decoder.worker_id, number)
    with pytest.raises(ApiError):
        works(decoder)
    for _ in range(3):
        assert works(decoder)


def test_a_process_that_has_gone_is_started_again(decoder: Decoder) -> None:
    assert works(decoder)
    decoder.close()
    assert works(decoder)


def test_the_largest_images_fit_the_limit_on_memory(decoder: Decoder) -> None:
    # How long a busy machine takes is no matter here.
    budget = DecodeBudget(60, 60)
    rgba = soft_image(60, 50, 4)
    for image, kind, options in (
        (soft_image(70, 70).resize((7000, 7000)), "JPEG", {"quality": 60}),
        (rgba.resize((5400, 5400)), "WEBP", {"quality": 1, "method": 0}),
    ):
        opened = open_image(encoded(image, kind, **options))
        assert len(opened.decode(SETTINGS, None, budget, decoder).squares) == 1
        # The squares of the grid need more pixels than the whole, here those of a larger model.
        large = SETTINGS.model_copy(update={"size": 512})
        decoded = opened.decode(large, None, budget, decoder, regions=4)
        assert (len(decoded.squares), len(decoded.region_squares)) == (1, 16)


def test_it_ends_when_the_handler_does(tmp_path: Path) -> None:
    program = (
        "import os; from classifier.contract.bundle import ImageSettings; from"
        " classifier.images.decoder import Decoder; from classifier.images.opened_image import"
        " open_image; d = Decoder(); p = open_image(open(%r,"
        " 'rb').read())\np.decode(ImageSettings(size=8, interpolation='bicubic',"
        " resize_mode='squash', max_batch=1), decoder=d)\nprint(d.worker_id, d.parent_id,"
        " flush=True); os.kill(os.getpid(), 9)"
    )
    file = tmp_path / "good.png"
    file.write_bytes(GOOD)
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program % str(file)],
        env=path,
        capture_output=True,
        text=True,
        check=False,
    )
    ids = [int(number) for number in done.stdout.split()]
    assert len(ids) == 2, done.stderr
    deadline = time.monotonic() + 10
    while any(alive(number) for number in ids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(number) for number in ids)


def alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    # In a container nobody may reap what has ended.
    state = Path(f"/proc/{number}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_neither_process_holds_the_handlers_variables_or_files_or_can_write_any(
    decoder: Decoder,
) -> None:
    os.environ["SOME_SECRET"] = "visible"
    try:
        assert works(decoder)
    finally:
        del os.environ["SOME_SECRET"]
    for number in (decoder.worker_id, decoder.parent_id):
        assert b"SOME_SECRET" not in Path(f"/proc/{number}/environ").read_bytes()
        assert len(os.listdir(f"/proc/{number}/fd")) <= 6
        assert os.getsid(number) != os.getsid(0)
    limits = Path(f"/proc/{decoder.worker_id}/limits").read_text()
    assert re.search(r"Max file size +0 ", limits)
