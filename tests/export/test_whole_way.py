"""From a checkpoint on the hub to answers of the local server, without torch, for models with other
towers and tokenizers than CLIP's. With random weights: they say nothing, but all has to fit.
"""

import html
import json
import re
import subprocess
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from dev.weights import plain
from export.sources.architecture import Architecture
from export.sources.source import read_table
from export.table.rows import languages_of
from tests.export.test_model_command import NO_TORCH
from tests.support.hub import FILE, ROOT, Hub, run, serving
from tests.support.labelled import LABELS, draw
from tests.support.trained_tokenizers import gemma, xlm_roberta

# Torch's environment has no server.
SERVER = ROOT / ".venv" / "bin" / "python"
PHOTOGRAPHS = ROOT / "examples" / "images"


# Of the kind that each model has.
TOKENIZERS = {"ViT-B-32-SigLIP2-256": gemma, "xlm-roberta-base-ViT-B-32": xlm_roberta}


def evaluated(bundle: Path, folder: Path) -> None:
    pictures = folder / "pictures"
    draw(pictures, each=4)
    options = ["--cache", folder / "cache.sqlite3", "--report", folder / "report.html"]
    given = ["--bundle", bundle, "--labels", ",".join(LABELS), *options, "--", pictures]
    command = [str(part) for part in (SERVER, "-m", "tools.evaluate", *given)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "12 images: 12 show one of the 3 labels" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("model", "tag", "scoring"),
    [
        ("MobileCLIP2-S0", "dfndr2b", "softmax"),
        ("PE-Core-T-16-384", "meta", "softmax"),
        ("ViT-B-32-SigLIP2-256", "webli", "sigmoid"),
        ("xlm-roberta-base-ViT-B-32", "laion5b_s13b_b90k", "softmax"),
    ],
)
def test_a_checkpoint_on_the_hub_becomes_a_bundle_that_answers(
    model: str, tag: str, scoring: str, tmp_path: Path
) -> None:
    table = read_table()
    weights = plain(Architecture.model_validate(table["architectures"][model]))
    if scoring == "sigmoid":
        weights["logit_bias"] = np.array([-10], np.float32)
    save_file(weights, tmp_path / FILE)
    del weights
    bundle = tmp_path / "bundle"
    repository = table["pretrained"][model][tag]["repository"]
    hub = Hub((tmp_path / FILE).read_bytes(), repository=repository)
    if model in TOKENIZERS:
        hub.tokenizer = table["tokenizers"][model]["repository"]
        folder = TOKENIZERS[model](tmp_path)
        hub.others = {path.name: path.read_bytes() for path in folder.glob("*.json")}
    for server in serving(hub):
        arguments = ["--model", model, "--pretrained", tag, "--precision", "fp32", "--crops", "4"]
        done = run(
            ["-c", NO_TORCH, *arguments, "--output", str(bundle)],
            tmp_path,
            f"http://127.0.0.1:{server.server_address[1]}",
        )
        assert done.returncode == 0, done.stderr
    manifest = json.loads((bundle / "bundle.json").read_text())
    assert manifest["scoring"] == scoring
    assert manifest["languages"] == languages_of(repository)
    assert ("de" in (manifest["languages"] or [])) == (model in TOKENIZERS)
    source = (manifest["tokenizer"] or {}).get("source")
    assert source == (hub.tokenizer if model in TOKENIZERS else None)
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
                assert response.headers["X-Model"] == f"{model}/{tag}"
            with urllib.request.urlopen(address, timeout=60) as response:
                page = html.unescape(response.read().decode())
                assert f'"name": "{model}/{tag}", "scoring": "{scoring}"' in page
            if model in TOKENIZERS:
                evaluated(bundle, tmp_path)
        finally:
            process.terminate()
    assert answer.keys() == {"a dog", "a cat"}
    assert scoring == "softmax" or sum(answer.values()) < 0.5  # each by its own, with a bias of -10
