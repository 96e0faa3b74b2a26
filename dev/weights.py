"""Random weights by open_clip's names: as a new model is initialised, and with what makes trained
ones hard to quantise.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from export.sources.architecture import Architecture, ImageTower, TextTower, TracedTower

Arrays = dict[str, NDArray[np.float32]]
# The norms of a layer before a product, and the products that read them, as open_clip's own towers,
# timm's and EVA's name them.
_READERS = {
    "ln_1": ("attn.in_proj_weight",),
    "ln_2": ("mlp.c_fc.weight",),
    "norm1": ("attn.qkv.weight", *(f"attn.{part}_proj.weight" for part in "qkv")),
    "norm2": ("mlp.fc1.weight", "mlp.fc1_g.weight", "mlp.fc1_x.weight"),
    "attn.norm": ("attn.proj.weight",),
    "mlp.norm": ("mlp.fc2.weight",),
}
# CLIP's logit scale, trained to the limit that it may reach (arXiv 2103.00020, section 2.5).
SCALE = np.float32(np.log(100))


def small_architecture(*, quick_gelu: bool = True) -> Architecture:
    """CLIP in all but its size; the vocabulary is CLIP's, so that its tokenizer fits."""
    image = ImageTower(
        layers=4,
        width=192,
        heads=3,
        hidden=768,
        activation="quick_gelu" if quick_gelu else "gelu",
        layer_scale=False,
        epsilon=1e-5,
        image_size=64,
        patch_size=16,
        ln_pre=True,
    )
    text = TextTower(
        layers=4,
        width=128,
        heads=2,
        hidden=512,
        activation="quick_gelu" if quick_gelu else "gelu",
        layer_scale=False,
        epsilon=1e-5,
        context_length=77,
        vocabulary=49408,
        causal=True,
        own_length=True,
    )
    return Architecture(image=image, text=text, dimension=128)


def plain(architecture: Architecture, seed: int = 0) -> Arrays:
    """Normally distributed, with openai/CLIP's own deviations (clip/model.py,
    initialize_parameters).
    """
    rng = np.random.default_rng(seed)
    arrays: Arrays = {}
    for name, shape in architecture.shapes().items():
        tower = architecture.image if name.startswith("visual.") else architecture.text
        if name == "logit_scale":
            arrays[name] = np.array(SCALE)
        elif name.endswith((".bias", "in_proj_bias", ".running_mean")):
            arrays[name] = np.zeros(shape, np.float32)
        elif "ln_" in name or (isinstance(tower, TracedTower) and len(shape) == 1):
            arrays[name] = np.ones(shape, np.float32)
        else:
            arrays[name] = (rng.standard_normal(shape) * _deviation(name, shape, tower)).astype(
                np.float32
            )
    return arrays


def unfriendly(architecture: Architecture, seed: int = 0) -> Arrays:
    """Plain weights made as hard to quantise as trained ones are known to be.

    - Weights follow Student's t distribution with 4 degrees of freedom, at the deviation that they
      had.
    - Some channels of every LayerNorm before a product are 15 times the others; the product takes
      that back.
    - Single tokens have a norm far above the others', in two channels of the residual: the start
      token of texts, and in images the patches that are bright in the middle of the net ("Massive
      Activations in Large Language Models", arXiv 2402.17762, section 5 for CLIP ViT-L; "Vision
      Transformers Need Registers", arXiv 2309.16588, for the tokens of OpenCLIP).
    """
    rng = np.random.default_rng([seed, 1])
    arrays = plain(architecture, seed)
    for name, values in arrays.items():
        if values.ndim > 1 and name != "token_embedding.weight":
            # The variance of Student's t with 4 degrees of freedom is 2.
            arrays[name] = (rng.standard_t(4, values.shape) * (values.std() / np.sqrt(2))).astype(
                np.float32
            )
    for norm, products in _norms(arrays):
        width = len(arrays[f"{norm}.weight"])
        channels = rng.choice(width, max(2, width // 100), replace=False)
        arrays[f"{norm}.weight"][channels] *= 15
        arrays[f"{norm}.bias"][channels] *= 15
        for product in products:
            arrays[product][:, channels] /= 15
    kernel = arrays[_patches(arrays)]
    massive = rng.choice(min(len(kernel), architecture.text.width), 2, replace=False)
    arrays["positional_embedding"][0, massive] += (
        np.array([60, -30], np.float32) * arrays["token_embedding.weight"].std() * 10
    )
    # A patch's brightness decides: far above the other channels if all pixels are bright, else like
    # them.
    kernel[massive] += 40 * kernel.std() / np.sqrt(kernel[0].size)
    for norm in ("visual.ln_pre.weight", "visual.trunk.norm_pre.weight"):
        if norm in arrays:
            arrays[norm][massive] *= 8
    return arrays


def _norms(arrays: Arrays) -> Iterator[tuple[str, list[str]]]:
    """Each norm before products, without its `.weight`, and those products; images' first."""
    for name in sorted(arrays, key=lambda name: not name.startswith("visual.")):
        for norm, readers in _READERS.items():
            if name.endswith(f".{norm}.weight"):
                block = name.removesuffix(f"{norm}.weight")
                products = [block + reader for reader in readers if block + reader in arrays]
                if products:
                    yield block + norm, products


def _patches(arrays: Arrays) -> str:
    """The weights that turn pixels, or what other convolutions made of them, into tokens."""
    return [
        name
        for name, values in arrays.items()
        if values.ndim == 4 and (".patch_embed." in name or name == "visual.conv1.weight")
    ][-1]


def _deviation(
    name: str, shape: tuple[int, ...], tower: ImageTower | TracedTower | TextTower
) -> float:
    if isinstance(tower, TracedTower):
        return float(np.prod(shape[1:], dtype=float) ** -0.5)
    if "positional_embedding" in name and not name.startswith("visual."):
        return 0.01
    if "token_embedding" in name:
        return 0.02
    if "attn.out_proj" in name or "mlp.c_proj" in name:
        return float(tower.width**-0.5 * (2 * tower.layers) ** -0.5)
    if "mlp.c_fc" in name:
        return float((2 * tower.width) ** -0.5)
    if "conv1" in name:
        # torch's default for a convolution: uniform within one over the root of its inputs.
        return float((3 * 3 * getattr(tower, "patch_size", 1) ** 2) ** -0.5)
    return float(tower.width**-0.5)


if __name__ == "__main__":
    # A safetensors file with a model's true names and shapes: python -m dev.weights MODEL
    # PATH [unfriendly]
    import sys

    from safetensors.numpy import save_file

    from export.sources.source import read_table

    model, path, *kind = sys.argv[1:]
    make = unfriendly if kind == ["unfriendly"] else plain
    save_file(make(Architecture.model_validate(read_table()["architectures"][model])), path)
