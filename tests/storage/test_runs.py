"""Runs from the input to the results, on moto."""

import json
from collections import Counter
from typing import Any

import pytest

from classifier.api.handler import Handler
from classifier.bulk import BulkHandler
from classifier.contract.classifiers.folder import read_classifiers
from classifier.model.encoders import Encoders
from classifier.storage.bucket import Bucket
from classifier.storage.runs import RunRefused
from tests.support.bucket_objects import LABELS, SMALL, fill, outcomes
from tests.support.encoders import CountingEncoders
from tests.support.requests import ROOT, Context, ask, base64_of, event
from tests.support.runs import BUCKET, Machine, keys, lines, put

IMAGES = [(ROOT / "examples" / "images" / name).read_bytes() for name in ("dog.jpg", "pizza.jpg")]


def test_a_start_leaves_prompts_that_it_has_no_time_for_to_the_first_batch(
    s3: Any, encoders: Encoders
) -> None:
    counting = CountingEncoders(encoders)
    classifiers = read_classifiers(ROOT / "classifiers", encoders.manifest)
    bulk = BulkHandler(
        counting,  # type: ignore[arg-type]
        Bucket(BUCKET, "images/"),
        None,
        classifiers,
        start_ms=lambda: 0,
    )
    assert not counting.lengths
    put("images/dog.jpg", IMAGES[0])
    assert (
        Machine(s3, bulk).run("r", {"prefix": "images/", "classifier": "drawings"})["status"]
        == "SUCCEEDED"
    )
    assert [entry["name"] for entry in lines(s3, "r")[0]["decision"]["labels"]] == ["a dog"]


def test_more_objects_than_a_listing_holds_are_each_in_the_results_once(
    s3: Any, bulk: BulkHandler
) -> None:
    expected = fill(1_200, images=200)
    state = Machine(s3, bulk).run(
        "all", {"prefix": "images/", "labels": LABELS, "max_concurrency": 4}
    )
    assert state["status"] == "SUCCEEDED", state
    found = lines(s3, "all")
    assert outcomes(found) == expected
    assert Counter(expected.values())["error"] == 4
    assert (
        len([entry for entry in keys(s3, "results/all/") if entry["Key"].endswith(".jsonl")]) == 12
    )
    assert {line["model"] for line in found} == {"demo"}
    listed = {
        entry["Key"]: (entry["ETag"].strip('"'), entry["Size"]) for entry in keys(s3, "images/")
    }
    assert {line["key"]: (line["etag"], line["size"]) for line in found} == listed


def test_a_manifest_names_the_objects_and_a_line_that_is_no_key_is_an_error_of_its_own(
    s3: Any, bulk: BulkHandler
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
    state = Machine(s3, bulk).run(
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
        (
            {"prefix": "images/", "labels": ["a"], "image_data": "AAAA"},
            "image_data can't be sent here",
        ),
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
def test_a_wrong_input_fails_before_any_image_is_read_and_is_not_tried_again(
    s3: Any, bulk: BulkHandler, given: dict[str, Any], message: str
) -> None:
    fill(3)
    machine = Machine(s3, bulk)
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
    s3: Any, bulk: BulkHandler
) -> None:
    fill(2)
    machine = Machine(s3, bulk)
    labels = [f"label {i}" for i in range(1000)]
    assert (
        machine.run("labels", {"prefix": "images/", "labels": labels, "top_k": 2})["status"]
        == "SUCCEEDED"
    )
    assert max(len(call) for call in machine.calls if "Items" in json.loads(call)) < 1000
    assert {len(line["result"]) for line in lines(s3, "labels") if "result" in line} == {2}


def test_a_run_under_a_name_that_has_results_is_refused_and_the_same_run_is_not(
    s3: Any, bulk: BulkHandler
) -> None:
    fill(5)
    event = {
        "check": {"prefix": "images/", "labels": LABELS},
        "run": "twice",
        "started": "2026-11-25T10:00:00Z",
    }
    assert bulk(event, Context()) == bulk(event, Context())
    with pytest.raises(RunRefused, match="another run named"):
        bulk(event | {"started": "2027-11-25T10:00:00Z"}, Context())


def test_the_same_batch_twice_is_one_file_and_another_run_is_another_folder(
    s3: Any, bulk: BulkHandler
) -> None:
    fill(30)
    given = {"prefix": "images/", "labels": LABELS, "batch_size": 10}
    for run in ("one", "two"):
        machine = Machine(s3, bulk)
        machine.run(run, given)
    before = {entry["Key"]: entry["ETag"] for entry in keys(s3, "results/")}
    machine.done.clear()
    machine.redrive()
    assert {entry["Key"]: entry["ETag"] for entry in keys(s3, "results/")} == before
    assert len(before) == 2 * (3 + 1)


def test_lines_are_what_single_calls_answer(s3: Any, bulk: BulkHandler, encoders: Encoders) -> None:
    single = Handler(encoders)
    options = {"labels": LABELS, "fit": "tiles", "details": True, "embedding": True}
    files = {f"images/{i}.jpg": data for i, data in enumerate([*IMAGES, *SMALL])}
    for key, data in files.items():
        s3.put_object(Bucket=BUCKET, Key=key, Body=data)
    assert Machine(s3, bulk).run("same", {"prefix": "images/", **options})["status"] == "SUCCEEDED"
    for line in lines(s3, "same"):
        answer = ask(single, event({"image_data": base64_of(files[line["key"]]), **options}))[1]
        answer["model_details"] = answer.pop("model")
        assert {name: line[name] for name in answer} == answer
