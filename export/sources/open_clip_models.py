"""open_clip's models as data: configurations, and the shapes of their towers."""

from typing import Any, Literal

import open_clip
import torch
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from open_clip.hf_model import HFTextEncoder
from open_clip.model import _build_vision_tower
from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH
from open_clip.transformer import QuickGELU, ResidualAttentionBlock, VisionTransformer
from torch import nn

from export.errors import ExportError
from export.sources import hugging_face
from export.sources.architecture import Architecture, ImageTower, Shapes, TextTower, TracedTower

TOKENIZER_SETTINGS = ("context_length", "tokenizer_kwargs", "tokenizer_mode")
# CLIP's own tokenizer has that many ids.
VOCABULARY = 49408
REFUSES = "can't be made into a bundle yet: "


def model_config(name: str) -> dict[str, Any]:
    """The open_clip config of a model. Raises ExportError, with the reason, for one that a bundle
    can't express.
    """
    # A name with a scheme (hf-hub:, local-dir:) would make open_clip fetch or read a config of its
    # own.
    config = open_clip.get_model_config(name) if ":" not in name else None
    if config is None:
        near = [known for known in open_clip.list_models() if name.lower()[:5] in known.lower()][:8]
        raise ExportError(
            f"{name} is no model of open_clip {open_clip.__version__}; there are"
            f" {', '.join(near or ['ViT-B-32'])}, … `make models` lists all with the way of their"
            " export."
        )
    text = config["text_cfg"]
    reasons = {
        "CoCa's text tower is one of Hugging Face": (
            "multimodal_cfg" in config and "hf_model_name" in text
        ),
        "its text tower isn't known here": (
            text.get("hf_model_name", "roberta-base") not in hugging_face.SIZES
        ),
        "its vocabulary is neither CLIP's nor a tokenizer's": (
            "hf_tokenizer_name" not in text and text.get("vocab_size", VOCABULARY) != VOCABULARY
        ),
        "its class token sees itself": bool(text.get("correct_cls_mask")),
        "its text tower masks what texts are filled up with": bool(text.get("use_pad_mask")),
        f"its text is pooled by {text.get('pool_type')!r}": (
            text.get("pool_type", "argmax") not in ("argmax", "eos", "last")
        ),
    }
    for reason, applies in reasons.items():
        if applies:
            raise ExportError(f"{name} {REFUSES}{reason}.")
    return dict(config)


def tokenizer_of(name: str) -> dict[str, Any] | None:
    """The repository of a model's tokenizer and what open_clip gives it; None for CLIP's own."""
    text = model_config(name)["text_cfg"]
    if "hf_tokenizer_name" not in text:
        return None
    given = {key: text[key] for key in TOKENIZER_SETTINGS if key in text}
    return {"repository": text["hf_tokenizer_name"], "text": given}


def build(name: str) -> Any:
    """open_clip's model, with the weights that it begins with."""
    config = model_config(name)
    custom = config.pop("custom_text", False)
    if "multimodal_cfg" in config:
        return open_clip.CoCa(**config).eval()
    return (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**config).eval()


def repository_and_files(settings: dict[str, Any]) -> tuple[str, list[str]]:
    """Where a tag's weights are: open_clip prefers safetensors to its default name."""
    repository, _, file = str(settings["hf_hub"]).rpartition("/")
    return repository, [file] if file else [HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME]


def architecture_of(name: str) -> tuple[Architecture, Shapes]:
    """The shape of a model's towers, without weights, and the shapes of these. Raises ExportError
    for what can't be expressed.
    """
    config = model_config(name)
    with torch.device("meta"):
        if "hf_model_name" in config["text_cfg"]:
            # The text tower would want a file of the hub.
            visual = _build_vision_tower(
                config["embed_dim"], config["vision_cfg"], config.get("quick_gelu", False)
            )
            architecture = Architecture(
                image=_image(visual), text=_hugging_face(name), dimension=config["embed_dim"]
            )
        else:
            model = build(name)
            visual = model.visual
            architecture = describe(name, model)
    state = {f"visual.{key}": tuple(part.shape) for key, part in visual.state_dict().items()}
    return architecture, architecture.shapes() | state


def describe(name: str, model: Any) -> Architecture:
    """The shape of the towers of open_clip's model."""
    text = model.text if hasattr(model, "text") else model
    if type(text) is HFTextEncoder:
        return Architecture(
            image=_image(model.visual), text=_hugging_face(name), dimension=text.output_dim
        )
    projection = text.text_projection
    kind: Literal["matrix", "linear", "none"]
    if projection is None:
        kind, dimension = "none", text.ln_final.weight.shape[0]
    elif isinstance(projection, nn.Linear):
        kind, dimension = "linear", projection.out_features
    else:
        kind, dimension = "matrix", projection.shape[1]
    # open_clip.CLIP carries the names with a prefix.
    pool: Any = text.pool_type if hasattr(text, "pool_type") else text.text_pool_type
    embed_cls = getattr(text, "cls_emb", None) is not None
    pool = "last" if embed_cls else pool
    eos_id = text.eos_id if hasattr(text, "eos_id") else getattr(text, "text_eos_id", None)
    tower = TextTower(
        context_length=text.positional_embedding.shape[0] - 2 * embed_cls,
        vocabulary=text.token_embedding.weight.shape[0],
        causal=text.attn_mask is not None,
        own_length=text.attn_mask is not None and (embed_cls or pool != "last"),
        embed_cls=embed_cls,
        pool=pool,
        eos_id=eos_id if pool == "eos" else None,
        projection=kind,
        **_transformer(text),
    )
    return Architecture(image=_image(model.visual), text=tower, dimension=dimension)


def _hugging_face(name: str) -> TextTower:
    text = model_config(name)["text_cfg"]
    return TextTower(
        **hugging_face.tower(
            text["hf_model_name"],
            text.get("context_length", DEFAULT_CONTEXT_LENGTH),
            text.get("hf_proj_type", "mlp"),
        )
    )


def _image(visual: Any) -> ImageTower | TracedTower:
    size = visual.image_size
    side = size[0] if isinstance(size, tuple) else size
    plain = type(visual) is VisionTransformer
    if not plain or visual.attn_pool is not None or visual.pool_type != "tok":
        return TracedTower(skeleton="", image_size=side)
    return ImageTower(
        image_size=side,
        patch_size=visual.patch_size[0],
        ln_pre=not isinstance(visual.ln_pre, nn.Identity),
        **_transformer(visual),
    )


def _activation(module: nn.Module) -> str:
    if isinstance(module, QuickGELU):
        return "quick_gelu"
    return "tanh_gelu" if getattr(module, "approximate", "none") == "tanh" else "gelu"


def _transformer(tower: Any) -> dict[str, Any]:
    blocks = list(tower.transformer.resblocks)
    for block in blocks:
        if type(block) is not ResidualAttentionBlock:
            raise ExportError(
                f"The model's blocks are of the kind {type(block).__name__}, which a bundle can't"
                " express yet."
            )
    first = blocks[0]
    return {
        "layers": len(blocks),
        "width": first.attn.embed_dim,
        "heads": first.attn.num_heads,
        "hidden": first.mlp.c_fc.out_features,
        "activation": _activation(first.mlp.gelu),
        "layer_scale": not isinstance(first.ls_1, nn.Identity),
        "epsilon": first.ln_1.eps,
    }
