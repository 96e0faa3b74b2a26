"""From a checkpoint on the hub to answers of the local server, without torch, for models with other
towers and tokenizers than CLIP's. With random weights: they say nothing, but all has to fit.
"""

import html
import json
import re
import subprocess
import urllib.request
from pathlib import Path

import pytest

from export.table.rows import languages_of
from tests.support.from_hub import TAGS, make
from tests.support.hub import ROOT
from tests.support.labelled import LABELS, draw
from tests.support.trained_tokenizers import OF_MODELS

# Torch's environment has no server.
SERVER = ROOT / ".venv" / "bin" / "python"
PHOTOGRAPHS = ROOT / "examples" / "images"


def evaluated(bundle: Path, folder: Path) -> None:
    pictures = folder / "pictures"
    draw(pictures, each=4)
    options = ["--cache", folder / "cache.sqlite3", "--report", folder / "report.html"]
    given = ["--bundle", bundle, "--labels", ",".join(LABELS), *options, "--", pictures]
    command = [str(part) for part in (SERVER, "-m", "tools.evaluate", *given)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "12 images: 12 show one of the 3 labels" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("model", "scoring"),
    [
        ("MobileCLIP2-S0", "softmax"),
        ("PE-Core-T-16-384", "softmax"),
        ("ViT-B-32-SigLIP2-256", "sigmoid"),
        ("xlm-roberta-base-ViT-B-32", "softmax"),
    ],
)
def test_a_checkpoint_on_the_hub_becomes_a_bundle_that_answers(
    model: str, scoring: str, tmp_path: Path
) -> None:
    bundle, hub = make(model, tmp_path, "--precision", "fp32", "--crops", "4")
    manifest = json.loads((bundle / "bundle.json").read_text())
    assert manifest["scoring"] == scoring
    assert manifest["languages"] == languages_of(hub.repository)
    assert ("de" in (manifest["languages"] or [])) == (model in OF_MODELS)
    source = (manifest["tokenizer"] or {}).get("source")
    assert source == (hub.tokenizer if model in OF_MODELS else None)
    command = [str(SERVER), "-m", "tools.local.serve", "--bundle", str(bundle), "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            address = next(
                found[0] for line in process.stdout if (found := re.search(r"http://[\d.:]+", line))
            )
            image = next(PHOTOGRAPHS.glob("*.jpg")).read_bytes()
            request = urllib.request.Request(
                f"{address}/?labels=a+dog&labels=a+cat&multi_label=true",
                image,
                {"Content-Type": "image/jpeg"},
            )
            with urllib.request.urlopen(request, timeout=60) as response:
                answer = json.load(response)["result"]
                assert response.headers["X-Model"] == f"{model}/{TAGS[model]}"
            with urllib.request.urlopen(address, timeout=60) as response:
                page = html.unescape(response.read().decode())
                assert f'"name": "{model}/{TAGS[model]}", "scoring": "{scoring}"' in page
            if model in OF_MODELS:
                evaluated(bundle, tmp_path)
        finally:
            process.terminate()
    assert answer.keys() == {"a dog", "a cat"}
    assert scoring == "softmax" or sum(answer.values()) < 0.5  # each by its own, with a bias of -10
