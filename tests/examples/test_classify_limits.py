import json
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image

import classify
import client
from classifier.api.handler import Handler
from tests.support.images import encoded
from tests.support.programs import RecordingHandler, exit_status
from tests.support.requests import ROOT, base64_of
from tools.local.serve import running

SAMPLES = ROOT / "examples" / "images"


LABELS = ["a dog", "a pizza", "stars, of any colour"]


LABEL_OPTIONS = ["--labels", "a dog,a pizza", "--label", LABELS[2]]


def test_calls_are_limited_in_bytes_and_answers_stay_in_order(
    handler: Handler, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0)
    for i in range(5):
        Image.fromarray(noise.integers(0, 256, (512, 512, 3), dtype=np.uint8)).save(
            tmp_path / f"{i}.bmp"
        )
    (tmp_path / "3.dog.jpg").write_bytes((SAMPLES / "dog.jpg").read_bytes())
    recorder = RecordingHandler(handler=handler)
    with running(recorder) as url:
        assert (
            exit_status(
                classify.main, tmp_path, "--endpoint", url, *LABEL_OPTIONS, "--output", "json"
            )
            == 0
        )
        whole = json.loads(capsys.readouterr().out)
        assert (
            exit_status(
                classify.main,
                tmp_path,
                "--endpoint",
                url,
                *LABEL_OPTIONS,
                "--output",
                "json",
                "--batch",
                "1",
            )
            == 0
        )
    assert [len(body["images"]) for body in recorder.bodies()] == [3, 3] + [1] * 6
    assert max(len(event["body"]) for event in recorder.events) < client.MAX_BASE64 + 1000
    assert json.loads(capsys.readouterr().out) == whole


@pytest.mark.parametrize(
    ("images", "sizes"),
    [
        ([classify.EncodedImage("", "x")] * 130, [64, 64, 2]),
        ([classify.EncodedImage("", "x" * 2_000_000)] * 3, [2, 1]),
        ([classify.EncodedImage("", "x" * 4_000_000)] * 2, [1, 1]),
        ([classify.EncodedImage("", "x", pixels=40_000_000)] * 5, [2, 2, 1]),
        ([], []),
    ],
    ids=["count", "bytes", "one as large as a call", "pixels", "none"],
)
def test_a_batch_stays_within_the_limits_of_the_endpoint(
    images: list[classify.EncodedImage], sizes: list[int]
) -> None:
    calls = list(classify.batches(images))
    assert [len(batch) for batch in calls] == sizes
    assert [image for batch in calls for image in batch] == images


def test_a_shrunk_photo_gets_nearly_the_same_answer_as_the_full_one(
    handler: Handler, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Image.open(SAMPLES / "dog.jpg") as dog:
        large = encoded(
            dog.resize((dog.width * 8, dog.height * 8), Image.Resampling.BICUBIC),
            "JPEG",
            quality=95,
        )
    (tmp_path / "dog.jpg").write_bytes(large)
    recorder = RecordingHandler(handler=handler)
    with running(recorder) as url:
        assert (
            exit_status(
                classify.main, tmp_path, "--endpoint", url, *LABEL_OPTIONS, "--output", "json"
            )
            == 0
        )
        whole = requests.post(
            url, json={"image_data": base64_of(large), "labels": LABELS}, timeout=30
        ).json()["result"]
    result = json.loads(capsys.readouterr().out)[0]["result"]
    assert len(recorder.bodies()[0]["images"][0]) < len(large) / 4
    assert result == pytest.approx(whole, abs=0.02)
    assert result != whole


def test_a_file_too_large_for_any_call_is_reported_and_not_sent(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(bytes(3_100_000))
    row = classify.read(path)
    assert (row.encoded, row.error) == (
        "",
        "has 3.1 MB and couldn't be shrunk here; at most 3.0 MB can be sent. Shrink it first.",
    )
