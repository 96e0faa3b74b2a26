"""Hugging Face's official clients, for Python and for JavaScript, on the API."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import InferenceClient

from classifier.api.handler import Handler
from tests.support.requests import ROOT
from tools.local.serve import running

HERE = Path(__file__).parent
DOG = ROOT / "examples" / "images" / "dog.jpg"
LABELS = ["a dog", "a cat"]


def test_the_client_for_javascript_gets_one_answer_from_both_functions_for_a_blob_and_a_buffer(
    handler: Handler,
) -> None:
    assert (HERE / "node_modules").exists(), (
        "the client is missing; install it with: make test-clients"
    )
    with running(handler) as url:
        command = ["node", str(HERE / "huggingface.mjs"), url, str(DOG)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        expected = [
            vars(item)
            for item in InferenceClient(model=url, token="unused").zero_shot_image_classification(
                DOG, LABELS
            )
        ]
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert [answer for answer in result["answers"] if answer != expected] == []
    assert len(result["answers"]) == 4
    assert "holds commas" in result["error"]


@pytest.mark.parametrize("form", ["path", "bytes"])
def test_the_client_for_python_takes_a_path_and_bytes(handler: Handler, form: str) -> None:
    data = DOG.read_bytes()
    image: Any = {"path": DOG, "bytes": data}[form]
    with running(handler) as url:
        answer = InferenceClient(model=url, token="unused").zero_shot_image_classification(
            image, LABELS
        )
    assert [item.label for item in answer] == LABELS
