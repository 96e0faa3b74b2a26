"""What the benchmark compares the handler with answers as it should, so it does the whole work."""

import base64
import json
from pathlib import Path

import pytest
import torch

from dev.benchmark import baseline, peers
from dev.benchmark.ask import event
from dev.benchmark.bundles import MODEL
from dev.benchmark.operations import LABELS, thumbnail
from dev.weights import plain
from export.sources.architecture import Architecture
from export.sources.source import read_table
from tests.support.requests import DEMO


def test_the_pipeline_answers_as_the_original_method_does(tmp_path: Path) -> None:
    arrays = plain(Architecture.model_validate(read_table()["architectures"][MODEL]))
    checkpoint = tmp_path / "random.pt"
    torch.save({name: torch.from_numpy(values) for name, values in arrays.items()}, checkpoint)
    data = thumbnail()
    asked = event(image_data=base64.b64encode(data).decode(), labels=LABELS)
    # The demo model has CLIP's tokenizer.
    answer = baseline.Handler(DEMO, checkpoint)(asked, None)
    original = json.loads(answer["body"])["result"]
    got = {entry["label"]: entry["score"] for entry in peers.pipeline(checkpoint)(data, LABELS)}
    assert max(original.values()) - min(original.values()) > 0.1
    # torchvision resizes tensors a little otherwise than Pillow images.
    assert got == pytest.approx(original, abs=0.01)
