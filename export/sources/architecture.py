"""What a model's weights don't say: the shape of its two towers, as data. Names of weights are
open_clip's.
"""

from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict

from export.graphs import skeleton
from export.graphs.precisions import Floats
from export.sources import hugging_face

Shapes = dict[str, tuple[int, ...]]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Transformer(_Part):
    """`hidden` is the width of the two-layer perceptrons, `epsilon` that of every LayerNorm."""

    layers: int
    width: int
    heads: int
    hidden: int
    activation: Literal["gelu", "quick_gelu", "tanh_gelu", "relu"]
    layer_scale: bool
    epsilon: float

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
    """open_clip's TextTransformer, or a Hugging Face model by its own `names` of weights.

    Pooled at the highest id, the first `eos_id`, the last or first position, or by the mean.
    `own_length`: nothing behind the end token changes a text's embedding, so that each runs at its
    own length. Otherwise it is filled up to the context length. `linear` has a bias, `mlp` two
    matrices. `embed_cls`: a class token is behind the text's pads, and is pooled; it is CoCa's,
    whose mask lets it see the text and the first pad (open_clip's `correct_cls_mask` tells why). So
    `context_length` leaves room for both.
    """

    context_length: int
    vocabulary: int
    causal: bool
    own_length: bool
    pool: Literal["argmax", "eos", "last", "first", "mean"] = "argmax"
    eos_id: int | None = None
    projection: Literal["matrix", "linear", "mlp", "none"] = "matrix"
    embed_cls: bool = False
    names: Literal["open_clip", "roberta", "m2m_100"] = "open_clip"

    def weights(self, arrays: Mapping[str, Floats]) -> Mapping[str, Floats]:
        """A checkpoint's, under open_clip's names."""
        return arrays if self.names == "open_clip" else hugging_face.Renamed(arrays, self)

    def text_shapes(self, dimension: int) -> Shapes:
        if self.names != "open_clip":
            return hugging_face.shapes(self, dimension)
        return {
            "token_embedding.weight": (self.vocabulary, self.width),
            "positional_embedding": (self.context_length + 2 * self.embed_cls, self.width),
            **({"cls_emb": (self.width,)} if self.embed_cls else {}),
            **self.projection_shapes(dimension),
            **dict(self.shapes("transformer")),
            **dict(norm_shapes("ln_final", self.width)),
        }

    def projection_shapes(self, dimension: int) -> Shapes:
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

    @property
    def quick_gelu(self) -> bool:
        towers = (self.text, self.image)
        return any(getattr(tower, "activation", "") == "quick_gelu" for tower in towers)

    def shapes(self) -> Shapes:
        """Every weight of both towers, by name."""
        image = self.image
        text = self.text
        shapes: Shapes = {"logit_scale": (), **text.text_shapes(self.dimension)}
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
