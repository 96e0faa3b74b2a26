"""Loads weights through torch and open_clip: what the table of plain vision transformers doesn't
hold.
"""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from open_clip.pretrained import (
    download_pretrained,
    get_pretrained_cfg,
    list_pretrained_tags_by_model,
)
from open_clip.transformer import (
    QuickGELU,
    ResidualAttentionBlock,
    TextTransformer,
    VisionTransformer,
)
from torch import nn

from classifier.contract.bundle import Weights, sha256
from export import hub
from export.architecture import Architecture, ImageTower, TextTower, TracedTower
from export.checks import check_activation, check_memory, check_settings, named_settings
from export.errors import ExportError
from export.make_skeletons import trace
from export.source import Request, Source, with_right_activation

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
        "CoCa has a second text decoder": "multimodal_cfg" in config,
        "its text tower is a Hugging Face model": "hf_model_name" in text,
        "its tokenizer is a Hugging Face one": bool(text.get("hf_tokenizer_name")),
        "SigLIP has a tokenizer of its own": "siglip" in name.lower(),
        "its text tower appends a class token": bool(text.get("embed_cls")),
        f"its text is pooled by {text.get('pool_type')!r}, not at the end token": (
            text.get("pool_type", "argmax") != "argmax"
        ),
        "its tokenizer has options": bool(text.get("tokenizer_kwargs")),
        "its text projection has a bias": bool(text.get("proj_bias")),
    }
    for reason, applies in reasons.items():
        if applies:
            raise ExportError(f"{name} {REFUSES}{reason}.")
    return dict(config)


def load(request: Request, say: Callable[[str], None]) -> Source:
    """Raises ExportError, for any warning of open_clip too: a wrong activation passes every later
    comparison.
    """
    name = request.model
    path = Path(request.pretrained).expanduser()
    model_config(name)
    settings = dict(get_pretrained_cfg(name, request.pretrained))
    from_file = not settings
    if from_file and not path.is_file():
        tags = ", ".join(list_pretrained_tags_by_model(name)) or "none"
        raise ExportError(
            f"{request.pretrained} is neither a file nor a tag of {name}; its tags: {tags}."
        )
    if from_file:
        settings = named_settings(
            name,
            request.trained_with,
            {tag: get_pretrained_cfg(name, tag) for tag in list_pretrained_tags_by_model(name)},
        )
    else:
        name = with_right_activation(name, settings, dict.fromkeys(open_clip.list_models()), say)
    check_activation(name, settings, bool(model_config(name).get("quick_gelu")))
    check_settings(name, settings)
    with torch.device("meta"):
        shapes = {key: tuple(part.shape) for key, part in build(name).state_dict().items()}
    check_memory(name, shapes, copies=2)
    if from_file:
        weights = Weights(source=path.name, revision=None, sha256=sha256(path))
        licence = request.licence
    elif settings.get("hf_hub"):
        repository, files = repository_and_files(settings)
        fetched = hub.fetch(
            repository, files, request.revision, request.licence, request.accepted, say
        )
        path = fetched.path
        licence = fetched.licence
        weights = Weights(source=repository, revision=fetched.revision, sha256=fetched.sha256)
    else:
        path = _download(settings)
        licence = request.licence
        weights = Weights(source=settings["url"], revision=None, sha256=sha256(path))
    with _warnings_are_errors(name):
        model = open_clip.create_model(name, pretrained=str(path), weights_only=True).eval()
    architecture = describe(model)
    licence = licence or f"unknown: see where {weights.source} came from"
    traced = trace(model.visual) if isinstance(architecture.image, TracedTower) else None
    return Source(
        name, architecture, arrays(model), settings, weights, licence, model, graph=traced
    )


def build(name: str) -> Any:
    """open_clip's model, with the weights that it begins with."""
    config = model_config(name)
    kind = open_clip.CustomTextCLIP if config.pop("custom_text", False) else open_clip.CLIP
    return kind(**config).eval()


def repository_and_files(settings: dict[str, Any]) -> tuple[str, list[str]]:
    """Where a tag's weights are: open_clip prefers safetensors to its default name."""
    repository, _, file = str(settings["hf_hub"]).rpartition("/")
    return repository, [file] if file else [HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME]


def describe(model: Any) -> Architecture:
    """The shape of a model's towers. Raises ExportError for what can't be expressed."""
    visual = model.visual
    text = model.text if hasattr(model, "text") else model
    if hasattr(model, "text") and type(text) is not TextTransformer:
        raise ExportError(
            f"The text tower is a {type(text).__name__}, which a bundle can't express yet."
        )
    size = visual.image_size
    side = size[0] if isinstance(size, tuple) else size
    image: ImageTower | TracedTower = TracedTower(skeleton="", image_size=side)
    plain = type(visual) is VisionTransformer
    if plain and visual.attn_pool is None and visual.pool_type == "tok":
        image = ImageTower(
            image_size=side,
            patch_size=visual.patch_size[0],
            ln_pre=not isinstance(visual.ln_pre, nn.Identity),
            **_transformer(visual),
        )
    context_length = text.positional_embedding.shape[0]
    vocabulary = text.token_embedding.weight.shape[0]
    text_tower = TextTower(
        context_length=context_length,
        vocabulary=vocabulary,
        causal=text.attn_mask is not None,
        **_transformer(text),
    )
    dimension = text.text_projection.shape[1]
    return Architecture(image=image, text=text_tower, dimension=dimension)


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
        "quick_gelu": isinstance(first.mlp.gelu, QuickGELU),
        "layer_scale": not isinstance(first.ls_1, nn.Identity),
        "epsilon": first.ln_1.eps,
    }


def arrays(model: Any) -> dict[str, Any]:
    """All weights by the names that towers are written from, as views of the model's own."""
    return {
        name.removeprefix("text."): tensor.detach().float().numpy()
        for name, tensor in model.state_dict().items()
    }


def _download(settings: dict[str, Any]) -> Path:
    try:
        return Path(download_pretrained(settings))
    except Exception as err:  # urllib and open_clip raise many kinds
        raise ExportError(
            f"{settings['url']} could not be downloaded: {' '.join(str(err).split())}. {hub.ADVICE}"
        ) from err


@contextmanager
def _warnings_are_errors(name: str) -> Iterator[None]:
    messages: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            # Positions of another grid are interpolated with no more than an information.
            if record.levelno >= logging.WARNING or record.getMessage().startswith("Resizing"):
                messages.append(record.getMessage())

    listener = Listener()
    root = logging.getLogger()
    level = root.level
    root.addHandler(listener)
    root.setLevel(logging.INFO)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
    # A file that is no checkpoint makes torch and safetensors raise nearly everything.
    except Exception as err:
        raise ExportError(
            f"The weights don't fit {name}: {' '.join(str(err).split())[:300]}"
        ) from err
    finally:
        root.removeHandler(listener)
        root.setLevel(level)
    messages += [
        str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)
    ]
    if messages:
        raise ExportError(f"open_clip warns while it loads {name}: {messages[0]}")
