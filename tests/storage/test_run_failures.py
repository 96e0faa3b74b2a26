"""Runs whose function fails, is killed or stopped, on moto."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from classifier.bulk import BulkHandler
from classifier.contract.request.parsing import parse_options
from classifier.engine.engine import Engine
from classifier.model.encoders import Encoders
from classifier.storage.batches import Batch
from classifier.storage.bucket import Bucket
from classifier.storage.items import Item
from stacks.bulk.state_machine import TIMEOUT_S, definition
from tests.support.bucket_objects import LABELS, fill, outcomes
from tests.support.runs import BUCKET, FunctionError, Machine, lines


def every_third(kind: str) -> Callable[[dict[str, Any], Callable[[], Any]], Any]:
    """A fault in each third invocation for a batch: before the work, in the middle of it, or once
    it is done.
    """
    count = 0

    def fault(event: dict[str, Any], call: Callable[[], Any]) -> Any:
        nonlocal count
        if "Items" not in event:
            return call()
        count += 1
        if count % 3:
            return call()
        if kind == "answer lost":
            call()
        raise FunctionError(
            {"throttled": "Lambda.TooManyRequestsException", "timeout": "Sandbox.Timedout"}.get(
                kind, kind
            )
        )

    return fault


@pytest.mark.parametrize(
    "kind", ["Error", "timeout", "throttled", "Runtime.ExitError", "answer lost"]
)
def test_nothing_is_lost_or_doubled_if_the_function_fails(
    s3: Any, bulk: BulkHandler, kind: str
) -> None:
    expected = fill(60)
    machine = Machine(s3, bulk, every_third(kind))
    given = {"prefix": "images/", "labels": LABELS, "batch_size": 10, "max_concurrency": 1}
    assert machine.run("faults", given)["status"] == "SUCCEEDED"
    assert sum(machine.calls.values()) > 7
    assert machine.failed() == []
    assert outcomes(lines(s3, "faults")) == expected


class Dying(Bucket):
    """Ends the function in the middle of its first batches: after this many reads, before anything
    is written.
    """

    reads = 0
    dies_at = frozenset({15, 42})

    def read(self, item: Any) -> Any:
        Dying.reads += 1
        if Dying.reads in self.dies_at:
            raise MemoryError("killed")
        return super().read(item)


def test_a_function_that_is_killed_in_the_middle_of_a_batch_leaves_no_part_of_it(
    s3: Any, encoders: Encoders
) -> None:
    expected = fill(60)
    machine = Machine(s3, BulkHandler(encoders, Dying(BUCKET, "images/")))
    given = {"prefix": "images/", "labels": LABELS, "batch_size": 10, "max_concurrency": 1}
    assert machine.run("killed", given)["status"] == "SUCCEEDED"
    assert max(machine.calls.values()) == 2
    assert outcomes(lines(s3, "killed")) == expected


def test_batches_that_failed_for_good_are_run_again_by_a_redrive_alone(
    s3: Any, bulk: BulkHandler
) -> None:
    expected = fill(60)
    broken = True

    def fault(event: dict[str, Any], call: Callable[[], Any]) -> Any:
        if (
            broken
            and "Items" in event
            and any(
                item["Key"] in ("images/00015.jpg", "images/00045.jpg") for item in event["Items"]
            )
        ):
            raise FunctionError("Error")
        return call()

    machine = Machine(s3, bulk, fault)
    machine.run(
        "broken", {"prefix": "images/", "labels": LABELS, "batch_size": 10, "max_concurrency": 2}
    )
    assert (len(machine.failed()), len(machine.batches)) == (2, 6)
    assert len(outcomes(lines(s3, "broken"))) == 40
    # Two retries, as the definition says.
    assert sorted(machine.calls[call] for call in machine.calls if call not in machine.done) == [
        3,
        3,
    ]
    broken = False
    before = sum(machine.calls.values())
    assert machine.redrive()["status"] == "SUCCEEDED"
    assert sum(machine.calls.values()) - before == 2
    assert outcomes(lines(s3, "broken")) == expected


def test_a_run_that_was_stopped_goes_on_where_it_was(s3: Any, bulk: BulkHandler) -> None:
    expected = fill(200)
    machine = Machine(s3, bulk)

    def fault(event: dict[str, Any], call: Callable[[], Any]) -> Any:
        if len(machine.done) == 4:
            machine.stopping.set()
            # Until moto has taken notice.
            machine.fault = None
            time.sleep(0.5)
        return call()

    machine.fault = fault
    assert (
        machine.run(
            "stopped",
            {"prefix": "images/", "labels": LABELS, "batch_size": 10, "max_concurrency": 1},
        )["status"]
        == "ABORTED"
    )
    time.sleep(1)
    rest = machine.failed()
    assert 0 < len(rest) < 20
    before = sum(machine.calls.values())
    assert machine.redrive()["status"] == "SUCCEEDED"
    assert sum(machine.calls.values()) - before == len(rest)
    assert outcomes(lines(s3, "stopped")) == expected


def test_the_definition_leaves_an_express_child_time_for_every_attempt(s3: Any) -> None:
    for label in ("Prefix", "Manifest"):
        (task,) = definition()["States"][label]["ItemProcessor"]["States"].values()
        pauses = 0.0
        attempts = 1
        for retry in task["Retry"]:
            waits = [
                min(
                    retry["IntervalSeconds"] * retry["BackoffRate"] ** i,
                    retry.get("MaxDelaySeconds", 1e9),
                )
                for i in range(retry["MaxAttempts"])
            ]
            pauses += sum(waits)
            # A throttled attempt takes no time of the function's.
            attempts += retry["MaxAttempts"] if retry["ErrorEquals"] == ["States.ALL"] else 0
        assert TIMEOUT_S * attempts + pauses < 270
        assert task["TimeoutSeconds"] > TIMEOUT_S


def test_out_of_time_is_a_line_for_each_image_that_is_left(s3: Any, encoders: Encoders) -> None:
    fill(3)
    bucket = Bucket(BUCKET, "images/")
    batch = Batch(
        Engine(encoders),
        "demo",
        parse_options({"labels": LABELS}),
        [Item("images/00000.jpg"), Item("images/00001.jpg")],
        bucket,
        lambda: 900,
    )
    codes = [outcome.line["error"]["code"] for outcome in batch.classify()]
    assert codes == ["out_of_time"] * 2
