import json
from pathlib import Path

import pytest
import requests
from huggingface_hub import InferenceClient
from huggingface_hub.errors import BadRequestError

import huggingface
from classifier.api.handler import Handler
from tests.integration import test_runtime
from tests.support.programs import RecordingHandler, exit_status, response, run_python
from tests.support.requests import DEMO, ROOT, base64_of
from tools.local.serve import running

SAMPLES = ROOT / "examples" / "images"
emulator = test_runtime.emulator


def inference(url: str) -> InferenceClient:
    return InferenceClient(model=url, headers={"x-api-key": "k"}, token="unused")


def test_hugging_faces_client_gets_the_same_scores_with_its_own_template(handler: Handler) -> None:
    data = (SAMPLES / "pizza.jpg").read_bytes()
    labels = ["dog", "pizza", "cat"]
    body = {"image_data": base64_of(data), "labels": labels, "top_k": 3}
    with running(handler) as url:
        for hypothesis, template in (
            (None, "This is a photo of {}."),
            ("a drawing of {}", "a drawing of {}"),
        ):
            scores = inference(url).zero_shot_image_classification(
                data, labels, hypothesis_template=hypothesis
            )
            answer = requests.post(url, json=body | {"templates": [template]}, timeout=30).json()
            assert [(element.label, element.score) for element in scores] == list(
                answer["result"].items()
            )
            assert sorted(scores, key=lambda element: -element.score) == scores


def test_hugging_faces_client_shows_the_message_of_an_error(handler: Handler) -> None:
    with running(handler) as url, pytest.raises(BadRequestError) as raised:
        inference(url).zero_shot_image_classification(
            (SAMPLES / "pizza.jpg").read_bytes(), ["dog", "Dog"]
        )
    message = (
        'parameters.candidate_labels.0 "dog" and parameters.candidate_labels.1 "Dog" are the same'
        " to the model; remove one."
    )
    assert message in str(raised.value)


def test_the_example_sends_the_api_key_and_not_a_saved_token(
    handler: Handler, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("hf_saved")
    recorder = RecordingHandler(handler=handler)
    arguments = ["--labels", "a dog, a cat", "--template", "a drawing of {}"]
    with running(recorder) as url:
        runs = [
            run_python(
                "examples/huggingface.py",
                "--endpoint",
                url,
                *arguments,
                HF_HOME=str(tmp_path),
                CLIP_API_KEY="secret",
                **more,
            )
            for more in ({}, {"HF_TOKEN": "hf_saved"})
        ]
    for done, event, body in zip(runs, recorder.events, recorder.bodies(), strict=True):
        assert done.returncode == 0, done.stderr
        assert [line.split(maxsplit=1)[1] for line in done.stdout.splitlines()] == [
            "a dog",
            "a cat",
        ]
        assert event["headers"]["x-api-key"] == "secret"
        assert "hf_saved" not in json.dumps(event)
        assert body["parameters"] == {
            "candidate_labels": ["a dog", "a cat"],
            "hypothesis_template": "a drawing of {}",
        }


def test_the_example_explains_an_error(handler: Handler) -> None:
    with running(handler) as url:
        no_image = exit_status(huggingface.main, "--endpoint", url, "--image", ROOT / "README.md")
        one_label = exit_status(huggingface.main, "--endpoint", url, "--labels", "dog")
    with running(RecordingHandler(response(403, '{"message": "Forbidden"}'))) as url:
        no_key = exit_status(huggingface.main, "--endpoint", url)
    assert no_image.startswith("The endpoint answered 415: The image is none of JPEG")
    assert one_label == "You must specify at least 2 classes to compare."
    assert no_key.startswith("The endpoint answered 403: Forbidden Is the key right?")
    assert "can't be reached" in exit_status(huggingface.main, "--endpoint", "http://127.0.0.1:9/")


@test_runtime.pytestmark
def test_hugging_faces_client_is_served_in_the_real_runtime(
    emulator: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        test_runtime.environment(
            emulator, "classifier.main.handler", CLIP_BUNDLE=str(DEMO)
        ) as invoke,
        running(lambda event, context: invoke(event)) as url,
    ):
        good = exit_status(huggingface.main, "--endpoint", url)
        bad = exit_status(huggingface.main, "--endpoint", url, "--labels", "dog,Dog")
    assert good == 0
    assert capsys.readouterr().out.splitlines()[0].split()[1] == "dog"
    assert "are the same to the model" in bad
