"""Runs from the input to the results, on moto."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from classifier.bulk import BulkHandler
from classifier.contract.classifiers.folder import read_classifiers
from classifier.model.encoders import Encoders
from classifier.storage.batches import Batch
from classifier.storage.bucket import Bucket
from tests.support.encoders import CountingEncoders
from tests.support.pictures import encoded, picture
from tests.support.requests import ROOT
from tests.support.runs import BUCKET, FunctionError, Machine, aws, keys, lines, put

LABELS = ["a dog", "a pizza", "a star"]
PICTURES = [(ROOT / "examples" / "images" / name).read_bytes() for name in ("dog.jpg", "pizza.jpg")]
SMALL = [encoded(picture(60, 40, seed=seed), "JPEG") for seed in range(4)]


@pytest.fixture
def s3() -> Iterator[Any]:
    with aws() as client:
        yield client


@pytest.fixture
def handler(s3: Any, encoders: Encoders) -> BulkHandler:
    return BulkHandler(encoders, Bucket(BUCKET, "images/"))


def fill(count: int) -> dict[str, str]:
    """So many objects, and what should become of each: a result, an error or skipped."""
    expected = {}
    for i in range(count):
        kind = {3: "error", 7: "skipped", 11: "folder", 13: "empty"}.get(i % 50, "result")
        key = f"images/{i:05}" + {"skipped": ".txt", "folder": "/"}.get(kind, ".jpg")
        body = {"error": b"no picture", "folder": b"", "empty": b""}.get(
            kind, SMALL[i % len(SMALL)] + str(i).encode()
        )
        put(key, body)
        expected[key] = kind if kind in ("error", "result") else "skipped"
    return expected


def test_a_start_leaves_prompts_that_it_has_no_time_for_to_the_first_batch(
    s3: Any, encoders: Encoders
) -> None:
    counting = CountingEncoders(encoders)
    classifiers = read_classifiers(ROOT / "classifiers", encoders.manifest)
    handler = BulkHandler(
        counting,  # type: ignore[arg-type]
        Bucket(BUCKET, "images/"),
        None,
        classifiers,
        start_ms=lambda: 0,
    )
    assert not counting.lengths
    put("images/dog.jpg", PICTURES[0])
    assert (
        Machine(s3, handler).run("r", {"prefix": "images/", "classifier": "drawings"})["status"]
        == "SUCCEEDED"
    )
    assert [entry["name"] for entry in lines(s3, "r")[0]["decision"]["labels"]] == ["a dog"]


def outcomes(found: list[dict[str, Any]]) -> dict[str, str]:
    """By key; every key once."""
    assert max(Counter(line["key"] for line in found).values(), default=1) == 1
    return {
        line["key"]: next(kind for kind in ("result", "error", "skipped") if kind in line)
        for line in found
    }


def test_more_objects_than_a_listing_holds_are_each_in_the_results_once(
    s3: Any, handler: BulkHandler
) -> None:
    expected = fill(1_200)
    state = Machine(s3, handler).run(
        "all", {"prefix": "images/", "labels": LABELS, "max_concurrency": 4}
    )
    assert state["status"] == "SUCCEEDED", state
    found = lines(s3, "all")
    assert outcomes(found) == expected
    assert Counter(expected.values())["error"] == 24
    assert (
        len([entry for entry in keys(s3, "results/all/") if entry["Key"].endswith(".jsonl")]) == 12
    )
    assert {line["model"] for line in found} == {"demo"}
    listed = {
        entry["Key"]: (entry["ETag"].strip('"'), entry["Size"]) for entry in keys(s3, "images/")
    }
    assert {line["key"]: (line["etag"], line["size"]) for line in found} == listed


def test_a_manifest_names_the_objects_and_a_line_that_is_no_key_is_an_error_of_its_own(
    s3: Any, handler: BulkHandler
) -> None:
    expected = fill(120)
    entries: list[Any] = [{"key": key} for key in list(expected)[:60]]
    entries += [
        {"key": "images/none.jpg"},
        {"key": "secret/a.jpg"},
        {"name": "x"},
        5,
        "images/00000.jpg",
    ]
    s3.put_object(
        Bucket=BUCKET,
        Key="manifests/m.jsonl",
        Body="\n".join(map(json.dumps, entries[:-1])).encode(),
    )
    state = Machine(s3, handler).run(
        "some", {"manifest": "manifests/m.jsonl", "labels": LABELS, "batch_size": 25}
    )
    assert state["status"] == "SUCCEEDED", state
    found = lines(s3, "some")
    assert len(found) == 64
    codes = {line["key"]: line["error"]["code"] for line in found if "error" in line}
    assert (codes["images/none.jpg"], codes["secret/a.jpg"]) == ("not_found", "forbidden")
    assert [line["error"]["code"] for line in found if line["key"] is None] == [
        "invalid_request"
    ] * 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"prefix": "images/", "labels": ["a dog", "A dog"]}, "are the same to the model"),
        (
            {"prefix": "images/", "lables": ["a dog"]},
            'The field "lables" is unknown. Did you mean labels?',
        ),
        ({"prefix": "images/"}, "labels is missing"),
        ({"prefix": "images/", "labels": ["a"], "image_data": "AAAA"}, "image_data can't be here"),
        (
            {"prefix": "other/", "labels": ["a"]},
            'prefix must be a string that begins with "images/"',
        ),
        (
            {"prefix": "images/", "manifest": "manifests/m.jsonl", "labels": ["a"]},
            "Send either prefix or manifest",
        ),
        ({"labels": ["a"]}, "Send either prefix or manifest"),
        ({"prefix": "images/none/", "labels": ["a"]}, "There is no object under"),
        ({"manifest": "manifests/none.jsonl", "labels": ["a"]}, "There is no manifest"),
        (
            {"prefix": "images/", "labels": ["a"], "max_concurrency": 0},
            "max_concurrency must be a whole number from 1 to 10,000",
        ),
        (
            {"prefix": "images/", "labels": ["a"], "batch_size": 2.5},
            "batch_size must be a whole number",
        ),
        ({"prefix": "images/", "labels": ["dog " * 200]}, "reads at most 75"),
    ],
)
def test_a_wrong_input_fails_before_any_picture_is_read_and_is_not_tried_again(
    s3: Any, handler: BulkHandler, given: dict[str, Any], message: str
) -> None:
    fill(3)
    machine = Machine(s3, handler)
    machine._cut = lambda given: []  # type: ignore[method-assign]
    state = machine.run("wrong", given)
    assert (state["status"], state["error"], sum(machine.calls.values())) == (
        "FAILED",
        "RunRefused",
        1,
    )
    assert message in json.loads(state["cause"])["errorMessage"]
    assert keys(s3, "results/") == []


def test_a_thousand_labels_go_by_the_requests_key_and_not_in_the_batches(
    s3: Any, handler: BulkHandler
) -> None:
    fill(2)
    machine = Machine(s3, handler)
    labels = [f"label {i}" for i in range(1000)]
    assert (
        machine.run("labels", {"prefix": "images/", "labels": labels, "top_k": 2})["status"]
        == "SUCCEEDED"
    )
    assert max(len(call) for call in machine.calls if "Items" in json.loads(call)) < 1000
    assert {len(line["result"]) for line in lines(s3, "labels") if "result" in line} == {2}


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
def test_nothing_is_lost_or_doubled_where_the_function_fails(
    s3: Any, handler: BulkHandler, kind: str
) -> None:
    expected = fill(120)
    machine = Machine(s3, handler, every_third(kind))
    given = {"prefix": "images/", "labels": LABELS, "batch_size": 20, "max_concurrency": 1}
    assert machine.run("faults", given)["status"] == "SUCCEEDED"
    assert sum(machine.calls.values()) > 7
    assert machine.failed() == []
    assert outcomes(lines(s3, "faults")) == expected


class Dying(Bucket):
    """Ends the function in the middle of its first batches: after so many reads, before anything is
    written.
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
    expected = fill(120)
    machine = Machine(s3, BulkHandler(encoders, Dying(BUCKET, "images/")))
    given = {"prefix": "images/", "labels": LABELS, "batch_size": 20, "max_concurrency": 1}
    assert machine.run("killed", given)["status"] == "SUCCEEDED"
    assert max(machine.calls.values()) == 2
    assert outcomes(lines(s3, "killed")) == expected


def test_batches_that_failed_for_good_are_run_again_by_a_redrive_alone(
    s3: Any, handler: BulkHandler
) -> None:
    expected = fill(120)
    broken = True

    def fault(event: dict[str, Any], call: Callable[[], Any]) -> Any:
        if (
            broken
            and "Items" in event
            and any(
                item["Key"] in ("images/00030.jpg", "images/00090.jpg") for item in event["Items"]
            )
        ):
            raise FunctionError("Error")
        return call()

    machine = Machine(s3, handler, fault)
    machine.run(
        "broken", {"prefix": "images/", "labels": LABELS, "batch_size": 20, "max_concurrency": 2}
    )
    assert (len(machine.failed()), len(machine.batches)) == (2, 6)
    assert len(outcomes(lines(s3, "broken"))) == 80
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


def test_a_run_that_was_stopped_goes_on_where_it_was(s3: Any, handler: BulkHandler) -> None:
    expected = fill(200)
    machine = Machine(s3, handler)

    def fault(event: dict[str, Any], call: Callable[[], Any]) -> Any:
        if len(machine.done) == 4:
            machine.stopping.set()
            # Until moto has taken notice.
            machine.fault = None
            import time

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
    import time

    time.sleep(1)
    rest = machine.failed()
    assert 0 < len(rest) < 20
    before = sum(machine.calls.values())
    assert machine.redrive()["status"] == "SUCCEEDED"
    assert sum(machine.calls.values()) - before == len(rest)
    assert outcomes(lines(s3, "stopped")) == expected


def test_a_run_under_a_name_that_has_results_is_refused_and_the_same_run_is_not(
    s3: Any, handler: BulkHandler
) -> None:
    fill(5)
    event = {
        "check": {"prefix": "images/", "labels": LABELS},
        "run": "twice",
        "started": "2026-11-25T10:00:00Z",
    }
    from classifier.storage.runs import RunRefused
    from tests.support.requests import Context

    assert handler(event, Context()) == handler(event, Context())
    with pytest.raises(RunRefused, match="another run named"):
        handler(event | {"started": "2027-11-25T10:00:00Z"}, Context())


def test_the_same_batch_twice_is_one_file_and_another_run_is_another_folder(
    s3: Any, handler: BulkHandler
) -> None:
    fill(30)
    given = {"prefix": "images/", "labels": LABELS, "batch_size": 10}
    for run in ("one", "two"):
        machine = Machine(s3, handler)
        machine.run(run, given)
    before = {entry["Key"]: entry["ETag"] for entry in keys(s3, "results/")}
    machine.done.clear()
    machine.redrive()
    assert {entry["Key"]: entry["ETag"] for entry in keys(s3, "results/")} == before
    assert len(before) == 2 * (3 + 1)


def test_lines_are_what_single_calls_answer(
    s3: Any, handler: BulkHandler, encoders: Encoders
) -> None:
    from classifier.api.handler import Handler
    from tests.support.requests import ask, base64_of, event

    single = Handler(encoders)
    options = {"labels": LABELS, "fit": "tiles", "details": True, "embedding": True}
    files = {f"images/{i}.jpg": data for i, data in enumerate([*PICTURES, *SMALL])}
    for key, data in files.items():
        s3.put_object(Bucket=BUCKET, Key=key, Body=data)
    assert (
        Machine(s3, handler).run("same", {"prefix": "images/", **options})["status"] == "SUCCEEDED"
    )
    for line in lines(s3, "same"):
        answer = ask(single, event({"image_data": base64_of(files[line["key"]]), **options}))[1]
        answer["model_details"] = answer.pop("model")
        assert {name: line[name] for name in answer} == answer


def test_the_definition_leaves_an_express_child_time_for_every_attempt(s3: Any) -> None:
    from stacks.bulk.state_machine import TIMEOUT_S, definition

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


def test_out_of_time_is_a_line_for_each_picture_that_is_left(s3: Any, encoders: Encoders) -> None:
    from classifier.contract.request.parsing import parse_options
    from classifier.engine.engine import Engine
    from classifier.storage.items import Item

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
