import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from classifier.api.handler import Handler
from classifier.contract.classifiers.file import parse_classifier
from classifier.model.encoders import Encoders
from tests.support.labelled import LABELS, draw, report_data
from tests.support.programs import RecordingHandler, exit_status
from tests.support.requests import DEMO, base64_of
from tools.evaluate.__main__ import main
from tools.evaluate.embeddings import Cache
from tools.evaluate.endpoint import Deployed
from tools.evaluate.scores import score
from tools.local.serve import running

Run = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "pictures"
    draw(found, each=20, others=10)
    (found / LABELS[0] / "broken.png").write_bytes(b"no image")
    return found


@pytest.fixture
def common_options(tmp_path: Path) -> list[object]:
    return ["--cache", tmp_path / "cache.sqlite3", "--report", tmp_path / "report.html"]


@pytest.mark.parametrize(
    "more",
    [
        [],
        ["--multi-label"],
        ["--templates", "a photo of {}", "--templates", "A photo of {}", "--fit", "pad"],
    ],
)
def test_an_endpoint_is_judged_as_its_model_here(
    folder: Path,
    common_options: list[object],
    more: list[str],
    handler: Handler,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    question = ["--labels", ",".join(LABELS), *more]
    with running(handler) as url:
        assert exit_status(main, folder, *question, *common_options, "--endpoint", url) == 0
    out = capsys.readouterr().out
    first = report_data(tmp_path)
    assert (
        exit_status(main, folder, *question, *common_options, "--bundle", DEMO, "--processes", 1)
        == 0
    )
    assert capsys.readouterr().out == out
    second = report_data(tmp_path)
    assert first["tables"] == second["tables"]
    assert first["curves"] == second["curves"]


def test_the_next_wording_sends_texts_alone(
    folder: Path, common_options: list[object], handler: Handler
) -> None:
    recorder = RecordingHandler(handler=handler)
    sent = list[int]()
    with running(recorder) as url:
        for template in ("a photo of {}", "a drawing of {}"):
            question = ["--labels", ",".join(LABELS), "--templates", template]
            assert exit_status(main, folder, *question, *common_options, "--endpoint", url) == 0
            sent.append(sum(len(body.get("images", [])) for body in recorder.bodies()))
    # The broken image is asked for again: an endpoint may have been too busy for it.
    assert sent == [71, 72]


def test_an_endpoint_that_answers_with_another_model_in_the_middle_ends_the_run(
    folder: Path, common_options: list[object], handler: Handler
) -> None:
    calls = 0

    def deployed_meanwhile(event: dict[str, Any], context: Any) -> dict[str, Any]:
        nonlocal calls
        answer: dict[str, Any] = handler(event, context)
        if "images" in json.loads(event["body"]):
            calls += 1
            if calls > 1:
                body = json.loads(answer["body"])
                for result in body["results"]:
                    if "model" in result:
                        result["model"]["fingerprint"] = "0" * 64
                answer["body"] = json.dumps(body)
        return answer

    draw(folder, each=30, seed=1)
    with running(deployed_meanwhile) as url:
        message = exit_status(
            main, folder, "--labels", ",".join(LABELS), *common_options, "--endpoint", url
        )
    assert "answers with another model than before (000000000000, not" in message
    assert not Path(str(common_options[-1])).exists()


@pytest.mark.parametrize("more", [[], ["--multi-label"]])
def test_a_model_that_judges_each_label_alone_is_judged_by_its_own_bias(
    folder: Path, common_options: list[object], more: list[str], encoders: Encoders, tmp_path: Path
) -> None:
    changed = encoders.manifest.model_copy(update={"scoring": "sigmoid", "logit_bias": -5.5})
    handler = Handler(dataclasses.replace(encoders, manifest=changed))
    path = next((folder / LABELS[1]).glob("*.png"))
    with running(handler) as url:
        question = {"labels": list(LABELS), "multi_label": bool(more)}
        given = ["--labels", ",".join(LABELS), *more, "--short-side", "64"]
        assert exit_status(main, folder, *given, *common_options, "--endpoint", url) == 0
        answer = requests.post(
            url, json={"image_data": base64_of(path.read_bytes()), **question}, timeout=30
        ).json()["result"]
        deployed = Deployed(url, None, 64)
        prepared = deployed.prepare({"a": parse_classifier(question)})
        with Cache(Path(str(common_options[1]))) as cache:
            [embedding] = deployed.embed(None, {"0" * 64: path}, cache).values()
    found = score(prepared, "a", deployed.manifest, np.asarray(embedding)[None])
    assert dict(zip(found.names, found.probabilities[0], strict=True)) == pytest.approx(
        answer, abs=1e-6
    )
