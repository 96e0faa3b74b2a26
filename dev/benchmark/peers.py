"""Measures the handler against transformers' zero-shot-image-classification pipeline: `make
benchmark NAME=peers`, on a quiet machine.

ViT-B/32 in fp32 with the weights of dev.benchmark.bundles, as many threads, the same JPEG and the
same prompts, in turns. The pipeline encodes its labels in each call, as it always does; labels seen
before are a matter of the handler's cache. The weights are random: only the time counts.
"""

import io
import itertools
import os
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dev.benchmark.api import fastest, holding, measure
from dev.benchmark.bundles import CHECKPOINT, MODEL, make_models
from dev.benchmark.machine import machine, say
from dev.benchmark.operations import LABELS, Operations, unseen

ROUNDS = 10
COUNT = 9
# Beginnings and parts of openai/CLIP's names, and transformers' for the same.
NAMES = {
    "visual.transformer.resblocks": "vision_model.encoder.layers",
    "transformer.resblocks": "text_model.encoder.layers",
    "visual.conv1": "vision_model.embeddings.patch_embedding",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre": "vision_model.pre_layrnorm",
    "visual.ln_post": "vision_model.post_layernorm",
    "visual.proj": "visual_projection.weight",
    "token_embedding": "text_model.embeddings.token_embedding",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final": "text_model.final_layer_norm",
    "text_projection": "text_projection.weight",
    "attn.": "self_attn.",
    "ln_": "layer_norm",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def renamed(state: dict[str, Any]) -> dict[str, Any]:
    """openai/CLIP's weights by transformers' names."""
    found = {}
    parts = re.compile("|".join(map(re.escape, NAMES)))
    for name, values in state.items():
        new = parts.sub(lambda part: NAMES[part[0]], name)
        if name in ("visual.proj", "text_projection"):
            found[new] = values.T
        elif ".in_proj_" in new:
            for part, third in zip("qkv", values.chunk(3), strict=True):
                found[new.replace("in_proj_", f"{part}_proj.")] = third
        else:
            found[new] = values
    return found


def pipeline(checkpoint: Path) -> Callable[[bytes, list[str]], list[dict[str, Any]]]:
    """Answers an image file and labels with a `label` and `score` each, the best first."""
    import open_clip
    import torch
    import transformers
    from PIL import Image

    torch.set_num_threads(os.cpu_count() or 1)
    model = transformers.CLIPModel(transformers.CLIPConfig()).eval()
    model.load_state_dict(renamed(torch.load(checkpoint, weights_only=True)))
    known = open_clip.get_tokenizer(MODEL)
    start, end = "<|startoftext|>", "<|endoftext|>"
    names = {"<start_of_text>": start, "<end_of_text>": end}
    run = transformers.pipeline(
        "zero-shot-image-classification",
        model=model,
        tokenizer=transformers.CLIPTokenizer(
            vocab={names.get(token, token): id_ for token, id_ in known.encoder.items()},
            merges=sorted(known.bpe_ranks, key=known.bpe_ranks.get),
        ),
        image_processor=transformers.CLIPImageProcessor(),
    )
    return lambda data, labels: list(
        run(Image.open(io.BytesIO(data)), candidate_labels=labels, hypothesis_template="{}")
    )


def peer(data: bytes) -> Operations:
    answer = pipeline(CHECKPOINT)
    words = itertools.count()
    return {
        "cached": lambda count: answer(data, LABELS[:count]),
        "new": lambda count: answer(data, unseen(words, count)),
    }


SIDES: dict[str, Callable[[bytes], Operations]] = {
    "pipeline": peer,
    "as served": holding,
    "int8": fastest,
}
OPERATIONS = {"cached": "nine labels seen before", "new": "nine labels never seen"}


def main() -> None:
    say("making the models")
    make_models()
    spent = measure(
        {
            f"{side} {operation}": (make, operation, COUNT, 5)
            for operation in OPERATIONS
            for side, make in SIDES.items()
        },
        ROUNDS,
    )
    middle = {name: statistics.median(values) for name, values in spent.items()}
    print(machine())
    for operation, text in OPERATIONS.items():
        theirs = middle[f"pipeline {operation}"]
        for side in SIDES:
            mine = middle[f"{side} {operation}"]
            print(f"{text}, {side}: {mine:.1f} ms, {theirs / mine:.1f} times as fast")


if __name__ == "__main__":
    main()
