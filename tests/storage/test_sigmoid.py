"""A model trained with SigLIP's loss through the runs over a bucket and the uploads, on moto."""

import base64
import json
from typing import Any

import pytest

from classifier.api.handler import Handler
from classifier.bulk import BulkHandler
from classifier.contract.classifiers.file import ClassifierFile, parse_classifier
from classifier.contract.classifiers.fit import fitted_on
from classifier.model.encoders import Encoders
from classifier.storage.bucket import Bucket
from classifier.storage.uploads import Uploads
from tests.support.bucket_objects import SMALL
from tests.support.classifiers import word_rows
from tests.support.engine import CATEGORIES, LABELS
from tests.support.requests import ROOT, ask, base64_of, event
from tests.support.runs import BUCKET, Machine, keys, lines, put
from tests.support.sigmoid import sigmoid_bundle
from tests.support.uploads import DOG, Bus, send, tags, upload

IMAGES = {
    "images/dog.jpg": DOG,
    "images/pizza.jpg": (ROOT / "examples" / "images" / "pizza.jpg").read_bytes(),
    **{f"images/{i}.jpg": data for i, data in enumerate(SMALL)},
}
EACH = {"labels": LABELS, "multi_label": True}
# What is there gets about 0.00003 then, and what isn't less than 0.0000001.
LOW = -18.0
THRESHOLDS = {"a dog": {"look": 1e-7, "keep": 1e-5}, "a cat": {"keep": 1e-5}}


@pytest.fixture(scope="module")
def low(tmp_path_factory: pytest.TempPathFactory) -> Encoders:
    folder = tmp_path_factory.mktemp("bundles") / "low"
    return Encoders.load(sigmoid_bundle(folder, LOW), threads=1)


@pytest.fixture(scope="module")
def classifiers(low: Encoders) -> dict[str, ClassifierFile]:
    each = {**EACH, "actions": ["look", "keep"], "thresholds": THRESHOLDS}
    head = {
        "vectors": base64.b64encode(word_rows(low, LABELS).astype("<f4").tobytes()).decode(),
        "scale": 2 * low.manifest.logit_scale,
    }
    fitted = fitted_on(low.manifest, parse_classifier(each)).model_dump()
    return {
        "pets": parse_classifier(each),
        "taught": parse_classifier({**each, "head": head, "fitted_on": fitted}),
    }


@pytest.fixture
def bulk(low: Encoders, bus: Bus, classifiers: dict[str, ClassifierFile]) -> BulkHandler:
    bucket = Bucket(BUCKET, "images/")
    assets = Bucket(BUCKET, "")
    name = low.manifest.name
    return BulkHandler(
        low,
        bucket,
        lambda own: Uploads(own, name, bucket, assets, "assets/request.json", True, bus),
        classifiers,
    )


@pytest.mark.parametrize(
    "request_",
    [
        {**EACH, "details": True, "embedding": True},
        {**EACH, "thresholds": {"a dog": 1e-5}, "min_probability": 1e-8},
        {**EACH, "regions": 2, "regions_combine": "max", "top_k": 2},
        {"categories": CATEGORIES, "multi_label": True, "fit": "tiles"},
        {"labels": LABELS},
        {"classifier": "pets"},
        {"classifier": "taught"},
    ],
    ids=str,
)
def test_lines_are_what_single_calls_answer(
    s3: Any,
    bulk: BulkHandler,
    low: Encoders,
    classifiers: dict[str, ClassifierFile],
    request_: dict[str, Any],
) -> None:
    single = Handler(low, classifiers=classifiers)
    for key, data in IMAGES.items():
        put(key, data)
    state = Machine(s3, bulk).run("same", {"prefix": "images/", "batch_size": 4, **request_})
    assert state["status"] == "SUCCEEDED", state
    found = {line["key"]: line for line in lines(s3, "same")}
    assert found.keys() == IMAGES.keys()
    for key, line in found.items():
        answer = ask(single, event({"image_data": base64_of(IMAGES[key]), **request_}))[1]
        if "model" in answer:
            answer["model_details"] = answer.pop("model")
        assert line["model"] == low.manifest.name
        assert {name: line[name] for name in answer} == answer
    dog = found["images/dog.jpg"]
    if "decision" in dog:
        [reached] = dog["decision"]["labels"]
        assert (reached["name"], reached["threshold"]) == ("a dog", 1e-5)
        assert found["images/pizza.jpg"]["decision"]["labels"] == []
    if request_.get("multi_label"):
        assert max(dog["result"].values()) < 0.001


def test_negatives_are_refused_before_any_image_is_read(s3: Any, bulk: BulkHandler) -> None:
    put("images/dog.jpg", DOG)
    machine = Machine(s3, bulk)
    given = {"prefix": "images/", **EACH, "negative_template": "something else"}
    state = machine.run("wrong", given)
    assert (state["status"], state["error"]) == ("FAILED", "RunRefused")
    assert "which judges each label alone; remove it" in state["cause"]
    assert sum(machine.calls.values()) == 1
    assert keys(s3, "results/") == []


def test_the_tag_of_a_tiny_probability_is_not_zero(s3: Any, bulk: BulkHandler, bus: Bus) -> None:
    s3.put_object(
        Bucket=BUCKET, Key="assets/request.json", Body=json.dumps({"classifier": "pets"}).encode()
    )
    assert send(bulk, upload(s3, "images/dog.jpg", DOG)) == []
    [detail] = bus.details
    found = tags(s3, "images/dog.jpg")
    probability = detail["result"]["a dog"]
    assert 0 < probability < 0.00005
    assert float(found.pop("clip-probability")) == pytest.approx(probability, rel=0.01)
    assert found == {"clip-label": "a dog", "clip-decision": "keep"}
