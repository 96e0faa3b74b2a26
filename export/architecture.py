"""What a model's weights don't say: the shape of its two towers, as data. Names of weights are
open_clip's.
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict

from export import skeleton

Shapes = dict[str, tuple[int, ...]]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Transformer(_Part):
    """`hidden` is the width of the two-layer perceptrons, `epsilon` that of every LayerNorm,
    `tanh_gelu` GELU's approximation by tanh.
    """

    layers: int
    width: int
    heads: int
    hidden: int
    quick_gelu: bool
    layer_scale: bool
    epsilon: float
    tanh_gelu: bool = False

    def shapes(self, prefix: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        width = self.width
        hidden = self.hidden
        for i in range(self.layers):
            block = f"{prefix}.resblocks.{i}"
            for norm in ("ln_1", "ln_2"):
                yield from norm_shapes(f"{block}.{norm}", width)
            yield f"{block}.attn.in_proj_weight", (3 * width, width)
            yield f"{block}.attn.in_proj_bias", (3 * width,)
            for linear, inputs, outputs in (
                ("attn.out_proj", width, width),
                ("mlp.c_fc", width, hidden),
                ("mlp.c_proj", hidden, width),
            ):
                yield f"{block}.{linear}.weight", (outputs, inputs)
                yield f"{block}.{linear}.bias", (outputs,)
            if self.layer_scale:
                yield f"{block}.ls_1.gamma", (width,)
                yield f"{block}.ls_2.gamma", (width,)


class ImageTower(Transformer):
    """open_clip's VisionTransformer, pooled by its class token. Sizes are in pixels."""

    image_size: int
    patch_size: int
    ln_pre: bool

    @property
    def positions(self) -> int:
        return 1 + (self.image_size // self.patch_size) ** 2


class TracedTower(_Part):
    """Any other image tower, as a traced graph: the name of its skeleton, which is empty if torch
    traces it for this export.
    """

    skeleton: str
    image_size: int

    def shapes(self) -> Shapes:
        return skeleton.weight_shapes(skeleton.read(self.skeleton)) if self.skeleton else {}


class TextTower(Transformer):
    """open_clip's TextTransformer, pooled at the highest id, at the first `eos_id` or at the last
    position. Without a causal mask each text is filled up to the context length.
    """

    context_length: int
    vocabulary: int
    causal: bool
    pool: Literal["argmax", "eos", "last"] = "argmax"
    eos_id: int | None = None
    projection: Literal["matrix", "linear", "none"] = "matrix"

    def projection_shapes(self, dimension: int) -> Shapes:
        """`linear` has a bias."""
        shapes: dict[str, Shapes] = {
            "matrix": {"text_projection": (self.width, dimension)},
            "linear": {
                "text_projection.weight": (dimension, self.width),
                "text_projection.bias": (dimension,),
            },
            "none": {},
        }
        return shapes[self.projection]


class Architecture(_Part):
    image: ImageTower | TracedTower
    text: TextTower
    dimension: int

    def shapes(self) -> Shapes:
        """Every weight of both towers, by name."""
        image = self.image
        text = self.text
        shapes: Shapes = {
            "logit_scale": (),
            "token_embedding.weight": (text.vocabulary, text.width),
            "positional_embedding": (text.context_length, text.width),
            **text.projection_shapes(self.dimension),
            **dict(text.shapes("transformer")),
            **dict(norm_shapes("ln_final", text.width)),
        }
        if isinstance(image, TracedTower):
            shapes |= image.shapes()
        else:
            shapes |= {
                "visual.conv1.weight": (image.width, 3, image.patch_size, image.patch_size),
                "visual.class_embedding": (image.width,),
                "visual.positional_embedding": (image.positions, image.width),
                "visual.proj": (image.width, self.dimension),
                **dict(image.shapes("visual.transformer")),
                **dict(norm_shapes("visual.ln_post", image.width)),
                **(dict(norm_shapes("visual.ln_pre", image.width)) if image.ln_pre else {}),
            }
        return shapes


def norm_shapes(name: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)
