"""Writes bundles of other models than CLIP's, with random weights: python -m
tests.support.other_towers FOLDER. Image towers have their true size, text towers are small.
"""

import sys
from pathlib import Path

import numpy as np

from classifier.contract.bundle import TokenizerFiles
from dev.benchmark.ladder import RANDOM, SETTINGS
from dev.weights import plain
from export import pipeline
from export.graphs.model_file import calibrate
from export.graphs.text_inputs import run_inputs
from export.graphs.towers import write_encoder
from export.sources.architecture import Architecture
from export.sources.source import Source, read_table
from export.tokenizers import hub_tokenizer
from export.tokenizers.hub_tokenizer import HubTokenizer
from tests.support.tokenizers import gemma, written

# Attention that pools and sigmoid scores, as SigLIP 2 has them; a transformer with rotary
# positions; convolutions. Each in the precision that its towers are fast in.
PRECISIONS = {
    "ViT-B-32-SigLIP2-256": "int8",
    "PE-Core-T-16-384": "int8-rows",
    "MobileCLIP2-S0": "fp32",
}
SMALL = {"layers": 2, "width": 128, "heads": 2, "hidden": 256}


def tokenizer(folder: Path, text: dict[str, object]) -> tuple[HubTokenizer, int]:
    """Gemma's kind, and the size of its vocabulary."""
    spec, config = gemma()
    paths = written(folder, spec, config)
    settings, tables = hub_tokenizer.read("Gemma", *paths, text, dynamic_length=False)
    for path in paths:
        path.unlink()
    files = TokenizerFiles(source="random", revision="", licence="none", sha256={})
    return HubTokenizer(settings, tables, files), len(spec["model"]["vocab"])


def write(model: str, precision: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    table = read_table()
    listed = Architecture.model_validate(table["architectures"][model])
    known = table["tokenizers"].get(model)
    own, vocabulary = tokenizer(folder, known["text"]) if known else (None, listed.text.vocabulary)
    text = listed.text.model_copy(update={**SMALL, "vocabulary": vocabulary})
    architecture = listed.model_copy(update={"text": text})
    weights = plain(architecture)
    if own:
        weights["logit_bias"] = np.array([-3], np.float32)
    source = Source(model, architecture, weights, SETTINGS, RANDOM, "none", tokenizer=own)
    rng = np.random.default_rng(1)
    side = source.image_size
    ids = rng.integers(300, vocabulary - 2, (4, text.context_length if own else 9))
    if not own:
        ids[:, 0] = vocabulary - 2
    runs = {
        "image": [{"pixels": rng.integers(0, 256, (1, side, side, 3), np.uint8)} for _ in range(2)],
        "text": [run_inputs(source, ids.tolist())],
    }
    for encoder, samples in runs.items():
        inputs = write_encoder(source, encoder, "fp32", folder)
        if precision != "fp32":
            path = folder / f"{encoder}.onnx"
            statistics = calibrate(path, inputs, samples, moments=False)
            write_encoder(source, encoder, precision, folder, statistics)
    settings = pipeline.describe(source, "random", folder)
    used = {"image": precision, "text": precision}
    pipeline.write_settings(folder, settings.model_copy(update={"precision": used}))


def main(folder: Path) -> None:
    for model, precision in PRECISIONS.items():
        write(model, precision, folder / model)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
