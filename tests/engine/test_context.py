import time
from contextlib import nullcontext, suppress

import pytest

from classifier.contract.errors import ApiError
from classifier.engine.context import MIN_ROUND_MS, RESERVE_MS, STAGES, RequestContext

MARGIN_MS = RESERVE_MS + MIN_ROUND_MS


@pytest.mark.parametrize(
    ("remaining_ms", "has_time"),
    [(29_000, True), (MARGIN_MS + 1, True), (MARGIN_MS, False), (0, False)],
)
def test_a_request_is_out_of_time_when_another_round_might_not_fit(
    remaining_ms: int, has_time: bool
) -> None:
    with nullcontext() if has_time else pytest.raises(ApiError):
        RequestContext(lambda: remaining_ms).check_deadline("")


def test_the_deadline_is_read_anew_at_every_check_and_the_error_gives_the_advice() -> None:
    remaining = iter([MARGIN_MS + 1, MARGIN_MS])
    context = RequestContext(lambda: next(remaining))
    context.check_deadline("send less.")
    with pytest.raises(ApiError) as caught:
        context.check_deadline("send less.")
    assert (caught.value.status, caught.value.code, caught.value.message) == (
        503,
        "out_of_time",
        "Time ran out; send less.",
    )


def test_the_time_kept_back_follows_the_longest_round() -> None:
    remaining = iter([29_000, 28_900, 20_000, 12_000, 9_400])
    context = RequestContext(lambda: next(remaining))
    for _ in range(4):
        context.check_deadline("")
    # Another round may take 8.9 s, as the longest one did, and the answer half a second.
    with pytest.raises(ApiError) as caught:
        context.check_deadline("")
    assert caught.value.status == 503


def test_a_stage_adds_up_its_blocks_even_one_that_fails() -> None:
    context = RequestContext(lambda: 29_000)
    for failure in (None, ValueError()):
        with suppress(ValueError), context.stage("decode"):
            time.sleep(0.01)
            if failure:
                raise failure
    assert list(context.stages) == list(STAGES)
    assert context.stages["decode"] >= 20
    assert context.stages["image"] == context.stages["text"] == 0
