import time
from contextlib import suppress

import pytest

from classifier.context import RESERVE_MS, STAGES, RequestContext
from classifier.errors import ClientError


@pytest.mark.parametrize(("remaining_ms", "has_time"), [(29_000, True), (RESERVE_MS + 1, True), (RESERVE_MS, False), (0, False)])
def test_a_request_has_time_until_the_reserve_is_left(remaining_ms: int, has_time: bool) -> None:
    assert RequestContext(lambda: remaining_ms).has_time() == has_time


def test_the_deadline_is_read_anew_at_every_check_and_the_error_gives_the_advice() -> None:
    remaining = iter([RESERVE_MS + 1, RESERVE_MS])
    context = RequestContext(lambda: next(remaining))
    context.check_deadline("send less.")
    with pytest.raises(ClientError) as caught:
        context.check_deadline("send less.")
    assert (caught.value.status, caught.value.code, caught.value.message) == (503, "out_of_time", "Time ran out; send less.")


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
