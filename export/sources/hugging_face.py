"""Text towers of Hugging Face's `transformers` that open_clip's models have: RoBERTa's and XLM-R's
encoder, and NLLB's (M2M-100). Their weights, under open_clip's names.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Shapes = dict[str, tuple[int, ...]]
# The shapes that the hub's configurations give (config.json of each). A wrong width or number of
# layers is refused with the checkpoint; heads: 64 channels each.
SIZES: dict[str, dict[str, int]] = {
    "roberta-base": {"layers": 12, "width": 768, "hidden": 3072, "vocabulary": 50265},
    "xlm-roberta-base": {"layers": 12, "width": 768, "hidden": 3072, "vocabulary": 250002},
    "xlm-roberta-large": {"layers": 24, "width": 1024, "hidden": 4096, "vocabulary": 250002},
    "facebook/nllb-200-distilled-600M": {
        "layers": 12,
        "width": 1024,
        "hidden": 4096,
        "vocabulary": 256206,
    },
    "facebook/nllb-200-distilled-1.3B": {
        "layers": 24,
        "width": 1024,
        "hidden": 8192,
        "vocabulary": 256206,
    },
}
HEAD = 64
# Both kinds number positions from behind the padding's id on, which is 1.
FIRST_POSITION = 2
POSITIONS = 514
# By open_clip's names: the block's part, and where the checkpoint has it.
ROBERTA = {
    "attn.out_proj": "attention.output.dense",
    "ln_1": "attention.output.LayerNorm",
    "mlp.c_fc": "intermediate.dense",
    "mlp.c_proj": "output.dense",
    "ln_2": "output.LayerNorm",
}
M2M = {
    "attn.out_proj": "self_attn.out_proj",
    "ln_1": "self_attn_layer_norm",
    "mlp.c_fc": "fc1",
    "mlp.c_proj": "fc2",
    "ln_2": "final_layer_norm",
}


def tower(name: str, context_length: int, projection: str) -> dict[str, Any]:
    """The settings of a TextTower. `projection`: open_clip's hf_proj_type."""
    size = SIZES[name]
    m2m = name.startswith("facebook/nllb")
    return size | {
        "heads": size["width"] // HEAD,
        "activation": "relu" if m2m else "gelu",
        "layer_scale": False,
        "epsilon": 1e-5,
        "context_length": context_length,
        "causal": False,
        "own_length": True,
        "pool": "first" if m2m else "mean",
        "projection": "mlp" if projection == "mlp" else "matrix",
        "names": "m2m_100" if m2m else "roberta",
    }


def shapes(text: Any, dimension: int) -> Shapes:
    """The weights of a checkpoint, by its own names."""
    width, hidden = text.width, text.hidden
    norm = {"weight": (width,), "bias": (width,)}
    found: Shapes = {}

    def add(name: str, parts: Mapping[str, tuple[int, ...]]) -> None:
        found.update({f"{name}.{part}": shape for part, shape in parts.items()})

    def linear(name: str, inputs: int, outputs: int) -> None:
        add(name, {"weight": (outputs, inputs), "bias": (outputs,)})

    roberta = text.names == "roberta"
    if roberta:
        add("transformer.embeddings.word_embeddings", {"weight": (text.vocabulary, width)})
        add("transformer.embeddings.position_embeddings", {"weight": (POSITIONS, width)})
        add("transformer.embeddings.token_type_embeddings", {"weight": (1, width)})
        add("transformer.embeddings.LayerNorm", norm)
    else:
        add("transformer.embed_tokens", {"weight": (text.vocabulary, width)})
        add("transformer.layer_norm", norm)
    for i in range(text.layers):
        block, names = _block(text.names, i)
        for part in _attention(text.names):
            linear(f"{block}.{part}", width, width)
        linear(f"{block}.{names['attn.out_proj']}", width, width)
        linear(f"{block}.{names['mlp.c_fc']}", width, hidden)
        linear(f"{block}.{names['mlp.c_proj']}", hidden, width)
        add(f"{block}.{names['ln_1']}", norm)
        add(f"{block}.{names['ln_2']}", norm)
    if text.projection == "mlp":
        middle = (width + dimension) // 2
        found["proj.0.weight"] = (middle, width)
        found["proj.2.weight"] = (dimension, middle)
    else:
        found["proj.weight"] = (dimension, width)
    return found


class Renamed(Mapping[str, Floats]):
    """A checkpoint's weights under the names that a TextTower of open_clip has."""

    def __init__(self, arrays: Mapping[str, Floats], text: Any) -> None:
        self._arrays = arrays
        self._text = text

    def __getitem__(self, name: str) -> Floats:
        arrays = self._arrays
        text = self._text
        roberta = text.names == "roberta"
        if name == "token_embedding.weight":
            if roberta:
                return arrays["transformer.embeddings.word_embeddings.weight"]
            scale = np.float32(np.sqrt(text.width))
            table: Floats = arrays["transformer.embed_tokens.weight"] * scale
            return table
        if name == "positional_embedding":
            return self._positions()
        if name.startswith("ln_embedding."):
            return arrays[name.replace("ln_embedding", "transformer.embeddings.LayerNorm")]
        if name.startswith("ln_final."):
            return arrays[name.replace("ln_final", "transformer.layer_norm")]
        if name.startswith("text_projection"):
            projection: Floats = arrays[name.replace("text_projection", "proj") + ".weight"].T
            return projection
        if name.startswith("transformer.resblocks."):
            _, _, number, part = name.split(".", 3)
            block, names = _block(text.names, int(number))
            if part.startswith("attn.in_proj_"):
                kind = part.removeprefix("attn.in_proj_")
                parts = [arrays[f"{block}.{one}.{kind}"] for one in _attention(text.names)]
                return np.concatenate(parts)
            module, _, kind = part.rpartition(".")
            return arrays[f"{block}.{names[module]}.{kind}"]
        return arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def _positions(self) -> Floats:
        """Those that a text can have, [context_length, width]."""
        places = np.arange(FIRST_POSITION, FIRST_POSITION + self._text.context_length)
        if self._text.names == "roberta":
            types = self._arrays["transformer.embeddings.token_type_embeddings.weight"]
            table = self._arrays["transformer.embeddings.position_embeddings.weight"]
            positions: Floats = table[places] + types[0]
            return positions
        # transformers' M2M100SinusoidalPositionalEmbedding: sines, then cosines.
        half = self._text.width // 2
        rates = np.exp(np.arange(half, dtype=np.float32) * np.float32(-np.log(10000) / (half - 1)))
        angles = places[:, None].astype(np.float32) * rates
        return np.concatenate([np.sin(angles), np.cos(angles)], 1).astype(np.float32)


def _block(names: str, i: int) -> tuple[str, dict[str, str]]:
    if names == "roberta":
        return f"transformer.encoder.layer.{i}", ROBERTA
    return f"transformer.layers.{i}", M2M


def _attention(names: str) -> tuple[str, str, str]:
    if names == "roberta":
        return "attention.self.query", "attention.self.key", "attention.self.value"
    return "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"
