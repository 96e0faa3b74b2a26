"""CLIP's forward pass in numpy, written from its definition and not from the graphs, to check the
graphs without torch.

Slow and plain: a few images and texts are enough to see that every weight found its place.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from export.sources.architecture import Architecture, ImageTower, TextTower, Transformer

Floats = NDArray[np.float32]
Arrays = Mapping[str, Floats]


def embed_images(
    architecture: Architecture,
    arrays: Arrays,
    mean: Sequence[float],
    std: Sequence[float],
    pixels: NDArray[np.uint8],
) -> Floats:
    """Normalised embeddings [n, d] of squares uint8 [n, S, S, 3]."""
    tower = architecture.image
    assert isinstance(tower, ImageTower)
    images = ((pixels / np.float32(255) - np.array(mean)) / np.array(std)).astype(np.float32)
    grid = tower.image_size // tower.patch_size
    patch = tower.patch_size
    patches = images.reshape(len(pixels), grid, patch, grid, patch, 3).transpose(0, 1, 3, 5, 2, 4)
    kernel = arrays["visual.conv1.weight"].reshape(tower.width, -1)
    x = patches.reshape(len(pixels), grid * grid, -1) @ kernel.T
    first = np.broadcast_to(arrays["visual.class_embedding"], (len(pixels), 1, tower.width))
    x = np.concatenate([first, x], axis=1) + arrays["visual.positional_embedding"]
    if tower.ln_pre:
        x = _norm(arrays, "visual.ln_pre", tower.epsilon, x)
    x = _transformer(tower, arrays, "visual.transformer", x)
    return normalised(
        _norm(arrays, "visual.ln_post", tower.epsilon, x[:, 0]) @ arrays["visual.proj"]
    )


def embed_texts(
    architecture: Architecture, arrays: Arrays, ids: Sequence[Sequence[int]], pad_id: int = 0
) -> Floats:
    """Normalised embeddings [n, d]; ids run from the start to the end token, padded here to the
    context length as open_clip does.
    """
    tower = architecture.text
    length = tower.context_length + tower.embed_cls
    padded = np.full((len(ids), length), pad_id, np.int64)
    for row, text in zip(padded, ids, strict=True):
        row[: len(text)] = text
    arrays = tower.weights(arrays)
    x = arrays["token_embedding.weight"][padded]
    if tower.embed_cls:
        last = np.broadcast_to(arrays["cls_emb"], (len(ids), 1, tower.width))
        x = np.concatenate([x, last], axis=1)
    x = x + arrays["positional_embedding"]
    lengths = np.array([len(text) for text in ids])
    mask: Floats | float = 0.0
    if tower.causal:
        mask = np.triu(np.full((x.shape[1],) * 2, -np.inf, np.float32), 1)
        if tower.embed_cls:
            # Each id hides the row behind its own if it is a pad.
            hidden = np.pad(padded == 0, [(0, 0), (1, 0)])
            mask = mask + np.where(hidden, np.float32(-np.inf), np.float32(0))[:, None, None]
    elif tower.own_length:
        unseen = np.arange(tower.context_length) >= lengths[:, None]
        mask = np.where(unseen, np.float32(-np.inf), np.float32(0))[:, None, None]
    post_norm = tower.names == "roberta"
    if post_norm:
        x = _norm(arrays, "ln_embedding", tower.epsilon, x)
    x = _transformer(tower, arrays, "transformer", x, mask, post_norm=post_norm)
    if not post_norm:
        x = _norm(arrays, "ln_final", tower.epsilon, x)
    if tower.pool == "mean":
        means = [rows[:length].mean(0) for rows, length in zip(x, lengths, strict=True)]
        x = np.stack(means).astype(np.float32)
    else:
        highest = (padded == tower.eos_id if tower.pool == "eos" else padded).argmax(1)
        x = x[np.arange(len(ids)), {"first": 0, "last": -1}.get(tower.pool, highest)]
    return normalised(_projected(tower, arrays, x))


def _projected(tower: TextTower, arrays: Arrays, x: Floats) -> Floats:
    if tower.projection == "linear":
        return _linear(arrays, "text_projection", x)
    if tower.projection == "mlp":
        hidden: Floats = x @ arrays["text_projection.0"]
        x = _gelu(hidden) @ arrays["text_projection.2"]
    elif tower.projection == "matrix":
        x = x @ arrays["text_projection"]
    return x


def _transformer(
    tower: Transformer,
    arrays: Arrays,
    prefix: str,
    x: Floats,
    mask: Floats | float = 0.0,
    *,
    post_norm: bool = False,
) -> Floats:
    for i in range(tower.layers):
        block = f"{prefix}.resblocks.{i}"
        scales = [
            arrays[f"{block}.ls_{j}.gamma"] if tower.layer_scale else np.float32(1) for j in (1, 2)
        ]
        norms = [partial(_norm, arrays, f"{block}.ln_{j}", tower.epsilon) for j in (1, 2)]
        y = x if post_norm else norms[0](x)
        x = x + scales[0] * _attention(tower, arrays, f"{block}.attn", y, mask)
        x = norms[0](x) if post_norm else x
        y = _linear(arrays, f"{block}.mlp.c_fc", x if post_norm else norms[1](x))
        y = ACTIVATIONS[tower.activation](y)
        x = x + scales[1] * _linear(arrays, f"{block}.mlp.c_proj", y)
        x = norms[1](x) if post_norm else x
    return x


def _attention(
    tower: Transformer, arrays: Arrays, name: str, x: Floats, mask: Floats | float
) -> Floats:
    parts = np.split(
        x @ arrays[f"{name}.in_proj_weight"].T + arrays[f"{name}.in_proj_bias"], 3, axis=-1
    )
    queries, keys, values = (
        part.reshape(*x.shape[:2], tower.heads, tower.width // tower.heads).transpose(0, 2, 1, 3)
        for part in parts
    )
    scores = (
        queries @ keys.transpose(0, 1, 3, 2) / np.sqrt(np.float32(tower.width // tower.heads))
        + mask
    )
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    attended = (shares / shares.sum(-1, keepdims=True)) @ values
    return _linear(arrays, f"{name}.out_proj", attended.transpose(0, 2, 1, 3).reshape(x.shape))


def _linear(arrays: Arrays, name: str, x: Floats) -> Floats:
    return x @ arrays[f"{name}.weight"].T + arrays[f"{name}.bias"]


def _norm(arrays: Arrays, name: str, epsilon: float, x: Floats) -> Floats:
    x = x - x.mean(-1, keepdims=True)
    result: Floats = x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(epsilon))
    return result * arrays[f"{name}.weight"] + arrays[f"{name}.bias"]


def normalised(x: Floats) -> Floats:
    """Rows of length 1."""
    result: Floats = x / np.linalg.norm(x, axis=-1, keepdims=True)
    return result


def _quick_gelu(x: Floats) -> Floats:
    result: Floats = x / (1 + np.exp(-1.702 * x))
    return result


def _tanh_gelu(x: Floats) -> Floats:
    """Hendrycks and Gimpel, arXiv 1606.08415, section 2."""
    result: Floats = x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2
    return result.astype(np.float32)


def _gelu(x: Floats) -> Floats:
    """The error function after Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26:
    at most 1.5e-7 off.
    """
    z = x / np.sqrt(np.float32(2))
    t = 1 / (1 + np.float32(0.3275911) * np.abs(z))
    series = t * (
        0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)))
    )
    result: Floats = x * (1 + np.sign(z) * (1 - series * np.exp(-z * z))) / 2
    return result


ACTIVATIONS: dict[str, Callable[[Floats], Floats]] = {
    "gelu": _gelu,
    "tanh_gelu": _tanh_gelu,
    "quick_gelu": _quick_gelu,
    "relu": lambda x: np.maximum(x, np.float32(0)),
}
