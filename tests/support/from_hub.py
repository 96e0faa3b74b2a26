"""Bundles of other models than CLIP's as `make model` makes them, from a hub on this machine and
without torch: python -m tests.support.from_hub FOLDER MODEL... writes some in fp32. Weights are
random and of their true sizes. Tokenizers that aren't CLIP's are small and need the export's
environment, which has the libraries that train them.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from dev.weights import plain
from export.sources.architecture import Architecture
from export.sources.source import read_table
from tests.support.hub import FILE, Hub, run, serving

NO_TORCH = (
    "import runpy, sys; sys.modules.update(torch=None, open_clip=None); runpy.run_module('export',"
    " run_name='__main__')"
)
TAGS = {
    "MobileCLIP2-S0": "dfndr2b",
    "PE-Core-T-16-384": "meta",
    "ViT-B-32-SigLIP2-256": "webli",
    "xlm-roberta-base-ViT-B-32": "laion5b_s13b_b90k",
}


def make(model: str, folder: Path, *options: str) -> tuple[Path, Hub]:
    """The bundle, in a folder of that one, and the hub that it came from; `options` are the
    export's.
    """
    table = read_table()
    weights = plain(Architecture.model_validate(table["architectures"][model]))
    if "SigLIP" in model:
        weights["logit_bias"] = np.array([-10], np.float32)
    save_file(weights, folder / FILE)
    del weights
    bundle = folder / "bundle"
    repository = table["pretrained"][model][TAGS[model]]["repository"]
    hub = Hub((folder / FILE).read_bytes(), repository=repository)
    (folder / FILE).unlink()
    if model in table["tokenizers"]:
        from tests.support.trained_tokenizers import OF_MODELS

        hub.tokenizer = table["tokenizers"][model]["repository"]
        files = OF_MODELS[model](folder / "tokenizer").glob("*.json")
        hub.others = {path.name: path.read_bytes() for path in files}
    named = ["--model", model, "--pretrained", TAGS[model], "--output", str(bundle)]
    for server in serving(hub):
        endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        done = run(["-c", NO_TORCH, *named, *options], folder, endpoint)
    assert done.returncode == 0, done.stderr
    return bundle, hub


def main(folder: Path, models: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for model in models:
        with tempfile.TemporaryDirectory() as name:
            # In 8 bits one rounding turned the other way becomes 0.05 of a probability on random
            # weights, on one processor too.
            bundle, _ = make(model, Path(name), "--precision", "fp32", "--crops", "4")
            shutil.rmtree(folder / model, ignore_errors=True)
            shutil.move(bundle, folder / model)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
