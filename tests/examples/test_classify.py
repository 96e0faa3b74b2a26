import csv
import io
import json
from pathlib import Path

import pytest
import requests

import classify
import client
from classifier.api.handler import Handler
from classifier.model.encoders import Encoders
from tests.support.images import png_header
from tests.support.programs import RecordingHandler, exit_status, response
from tests.support.requests import ROOT, base64_of
from tests.support.sigmoid import sigmoid_bundle
from tools.local.serve import running

SAMPLES = ROOT / "examples" / "images"


MODEL_LINE = f"Model: demo. {client.DEMO_WARNING}\n"


LABELS = ["a dog", "a pizza", "stars, of any colour"]


LABEL_OPTIONS = ["--labels", "a dog,a pizza", "--label", LABELS[2]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images, one in a subfolder, a broken one, and files that aren't images."""
    (tmp_path / "more").mkdir()
    for name, sample in (
        ("dog.jpg", "dog.jpg"),
        ("more/pizza.JPG", "pizza.jpg"),
        ("stars.png", "stars-small.png"),
    ):
        (tmp_path / name).write_bytes((SAMPLES / sample).read_bytes())
    (tmp_path / "broken.png").write_bytes(png_header(64, 64))
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".hidden.jpg").write_bytes(b"no image")
    return tmp_path


def test_a_folder_is_answered_like_single_requests_and_only_a_broken_file_fails(
    handler: Handler, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(handler) as url:
        code = exit_status(
            classify.main, folder, "--endpoint", url, *LABEL_OPTIONS, "--output", "json"
        )
        expected = [
            requests.post(
                url,
                json={"image_data": base64_of((SAMPLES / name).read_bytes()), "labels": LABELS},
                timeout=30,
            ).json()
            for name in ("dog.jpg", "pizza.jpg", "stars-small.png")
        ]
    out, err = capsys.readouterr()
    rows = json.loads(out)
    assert [Path(row["file"]).relative_to(folder).as_posix() for row in rows] == [
        "broken.png",
        "dog.jpg",
        "more/pizza.JPG",
        "stars.png",
    ]
    assert [row["result"] for row in rows[1:]] == [answer["result"] for answer in expected]
    assert rows[0]["error"] == "The PNG image is damaged or truncated; send the whole file."
    assert code == "1 of 4 files failed."
    model, skipped = err.splitlines()
    assert f"{model}\n" == MODEL_LINE
    assert skipped == "Passed over, not sent: 1 hidden, 1 suffix .txt."


def test_the_table_is_ranked_and_the_csv_keeps_the_order_of_the_labels(
    handler: Handler, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = folder / "more" / "pizza.JPG"
    missing = folder / "none.jpg"
    arguments = [good, missing, *LABEL_OPTIONS]
    with running(handler) as url:
        assert exit_status(classify.main, *arguments, "--endpoint", url) == "1 of 2 files failed."
        table = capsys.readouterr().out.splitlines()
        exit_status(classify.main, *arguments, "--endpoint", url, "--output", "csv", "--top-k", "1")
    header, best, failed = csv.reader(io.StringIO(capsys.readouterr().out))
    assert table[0].startswith(f"{good}  a pizza ")
    shares = [float(word.rstrip("%")) for word in table[0].split() if word.endswith("%")]
    assert (len(shares), shares) == (3, sorted(shares, reverse=True))
    width = len(str(good))
    assert table[1] == f"{missing!s:<{width}}  error: can't be read: No such file or directory"
    assert header == ["file", *LABELS, "error"]
    assert best == [str(good), "", best[2], "", ""]
    assert shares[0] == round(100 * float(best[2]), 2)
    assert failed == [str(missing), "", "", "", "can't be read: No such file or directory"]


def test_the_table_shows_tiny_probabilities_of_labels_judged_alone(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoders = Encoders.load(sigmoid_bundle(tmp_path / "sigmoid", -18.0), threads=1)
    with running(Handler(encoders)) as url:
        given = [folder / "dog.jpg", "--labels", "a dog,a cat", "--multi-label", "--endpoint", url]
        assert exit_status(classify.main, *given) == 0
    assert capsys.readouterr().out.endswith("  a dog 0.0027%   a cat 2.4e-06%\n")


def test_options_are_sent_under_the_names_of_the_api_and_only_if_set(
    handler: Handler, folder: Path
) -> None:
    options = [
        "--templates",
        "a drawing of {}",
        "--templates",
        "a photo of {}, big",
        "--multi-label",
        "--negative-template",
        "nothing",
        "--fit",
        "tiles",
        "--top-k",
        "2",
        "--min-probability",
        "0.01",
    ]
    recorder = RecordingHandler(handler=handler)
    with running(recorder) as url:
        for more in ([], options):
            arguments = [
                folder / "dog.jpg",
                "--endpoint",
                url,
                "--api-key",
                "k",
                *LABEL_OPTIONS,
                *more,
            ]
            assert exit_status(classify.main, *arguments) == 0
    plain, full = (
        {name: value for name, value in body.items() if name != "images"}
        for body in recorder.bodies()
    )
    assert plain == {"labels": LABELS}
    assert full == {
        "labels": LABELS,
        "templates": ["a drawing of {}", "a photo of {}, big"],
        "multi_label": True,
        "negative_template": "nothing",
        "fit": "tiles",
        "top_k": 2,
        "min_probability": 0.01,
    }
    assert recorder.events[0]["headers"]["x-api-key"] == "k"


def test_a_busy_endpoint_is_retried_after_its_retry_after_or_ever_longer_waits(
    handler: Handler,
    backoff: type[client.Backoff],
    waits: list[float],
    capsys: pytest.CaptureFixture[str],
) -> None:
    recorder = RecordingHandler(
        response(429, Retry_After="7"),
        response(503),
        response(500),
        response(429, Retry_After="86400"),
        handler=handler,
    )
    with running(recorder) as url:
        code = exit_status(
            classify.main, SAMPLES / "dog.jpg", "--endpoint", url, *LABEL_OPTIONS, backoff=backoff
        )
    assert code == 0
    assert len(recorder.events) == 5
    assert len({event["body"] for event in recorder.events}) == 1
    assert (waits[0], waits[3]) == (7, 60)
    assert 1 <= waits[1] <= 2 <= waits[2] <= 4
    assert "a dog" in capsys.readouterr().out


def test_a_client_error_is_not_retried_and_ends_the_run(
    handler: Handler,
    backoff: type[client.Backoff],
    waits: list[float],
    capsys: pytest.CaptureFixture[str],
) -> None:
    recorder = RecordingHandler(handler=handler)
    arguments = [SAMPLES, "--batch", "1", "--labels", "a dog,A Dog", "--output", "json"]
    with running(recorder) as url:
        message = exit_status(classify.main, *arguments, "--endpoint", url, backoff=backoff)
    assert (
        message
        == 'The endpoint answered 400: labels.0 "a dog" and labels.1 "A Dog" are the same to the'
        " model; remove one."
    )
    assert (len(recorder.events), waits, capsys.readouterr().out) == (1, [], "[]\n")
