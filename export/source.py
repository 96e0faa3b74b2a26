"""Where weights come from: an open_clip tag or a checkpoint file, with the settings that they were trained with."""

import hashlib
import json
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
import open_clip
from huggingface_hub.errors import EntryNotFoundError
from open_clip.pretrained import (
    HF_WEIGHTS_NAME,
    _get_safe_alternatives,
    download_pretrained,
    download_pretrained_from_hf,
    get_pretrained_cfg,
    list_pretrained_tags_by_model,
)
from open_clip.transformer import TextTransformer

from classifier.bundle import Weights


class ExportError(Exception):
    """An export that can't be made; the message says why and what would do."""


@dataclass(frozen=True)
class Source:
    """A loaded model in eval mode, and what its weights don't say."""

    model: Any
    settings: dict[str, Any]  # mean, std, interpolation, resize_mode, quick_gelu
    weights: Weights
    licence: str


def refuse_inexpressible(name: str) -> dict[str, Any]:
    """The open_clip config of a model. Raises ExportError, with the reason, for one that a bundle can't express."""
    # A name with a scheme (hf-hub:, local-dir:) would make open_clip fetch or read a config of its own.
    config = open_clip.get_model_config(name) if ":" not in name else None
    if config is None:
        near = [known for known in open_clip.list_models() if name.lower()[:5] in known.lower()][:8]
        raise ExportError(
            f"{name} is no model of open_clip {open_clip.__version__}; there are {', '.join(near or ['ViT-B-32'])}, …"
        )
    text, vision = config["text_cfg"], config["vision_cfg"]
    reasons = {
        "CoCa has a second text decoder": "multimodal_cfg" in config,
        "its text tower is a Hugging Face model": "hf_model_name" in text,
        "its tokenizer is a Hugging Face one": bool(text.get("hf_tokenizer_name")),
        "SigLIP has a tokenizer of its own": "siglip" in name.lower(),
        "its image tower is a timm model": "timm_model_name" in vision,
        "its text tower appends a class token": bool(text.get("embed_cls")),
        "its text mask is not causal, so that a text's length matters": bool(text.get("no_causal_mask")),
        f"its text is pooled by {text.get('pool_type')!r}, not at the end token": text.get("pool_type", "argmax") != "argmax",
        "its tokenizer has options": bool(text.get("tokenizer_kwargs")),
    }
    for reason, applies in reasons.items():
        if applies:
            raise ExportError(f"{name} can't be made into a bundle yet: {reason}.")
    return dict(config)


def load(name: str, pretrained: str, trained_with: str | dict[str, Any] | None, licence: str | None) -> Source:
    """Loads the model. Raises ExportError, for any warning of open_clip too: a wrong activation passes every later comparison."""
    config = refuse_inexpressible(name)
    tag = get_pretrained_cfg(name, pretrained)
    if tag:
        settings, path = dict(tag), _download(name, pretrained, tag)
        origin = tag.get("hf_hub") or tag.get("url") or pretrained
        weights = Weights(source=origin.rstrip("/"), revision=_revision(path), sha256=sha256(path))
        licence = licence or _licence(tag)
    elif Path(pretrained).is_file():
        settings, path = _named_settings(name, trained_with), Path(pretrained)
        weights = Weights(source=path.name, revision=None, sha256=sha256(path))
    else:
        tags = ", ".join(list_pretrained_tags_by_model(name)) or "none"
        raise ExportError(f"{pretrained} is neither a file nor a tag of {name}; its tags: {tags}.")
    if bool(settings.get("quick_gelu")) != bool(config.get("quick_gelu")):
        other = name.removesuffix("-quickgelu") if config.get("quick_gelu") else f"{name}-quickgelu"
        said = "with" if settings.get("quick_gelu") else "without"
        raise ExportError(f"These weights were trained {said} QuickGELU and {name} is not; take MODEL={other}.")
    if settings.get("resize_mode", "shortest") not in ("shortest", "squash"):
        raise ExportError(f"{name} pads pictures (resize_mode {settings['resize_mode']!r}), which a bundle can't express yet.")
    if settings.get("interpolation", "bicubic") not in ("bicubic", "bilinear"):
        raise ExportError(f"{name} resizes by {settings['interpolation']!r}; a bundle can express bicubic and bilinear.")
    with _warnings_are_errors(name):
        model = open_clip.create_model(name, pretrained=str(path), weights_only=True).eval()
    text = model.text if hasattr(model, "text") else model
    if hasattr(model, "text") and type(text) is not TextTransformer:
        raise ExportError(f"{name} can't be made into a bundle yet: its text tower is a {type(text).__name__}.")
    return Source(model, settings, weights, licence or f"unknown: see where {weights.source} came from")


def _named_settings(name: str, trained_with: str | dict[str, Any] | None) -> dict[str, Any]:
    if isinstance(trained_with, dict):
        settings = trained_with
    elif trained_with and trained_with.lstrip().startswith("{"):
        try:
            settings = dict(json.loads(trained_with))
        except ValueError as err:
            raise ExportError(f"PRETRAINED_CFG is no JSON object: {err}.") from err
    elif trained_with:
        settings = dict(get_pretrained_cfg(name, trained_with))
        if not settings:
            raise ExportError(f"{trained_with} is no tag of {name}; its tags: {', '.join(list_pretrained_tags_by_model(name))}.")
    else:
        tags = list_pretrained_tags_by_model(name)
        example = tags[0] if tags else '{"mean": […], "std": […], "interpolation": "bicubic", "quick_gelu": false}'
        raise ExportError(
            "A checkpoint file doesn't know its mean, standard deviation and activation, and a wrong one is silently wrong. "
            f"Name the tag or the settings that it was trained with: PRETRAINED_CFG={example}."
        )
    missing = {"mean", "std"} - settings.keys()
    if missing:
        raise ExportError(f"PRETRAINED_CFG lacks {' and '.join(sorted(missing))}.")
    unknown = settings.keys() - {"mean", "std", "interpolation", "resize_mode", "quick_gelu", "url", "hf_hub"}
    if unknown:
        raise ExportError(f"PRETRAINED_CFG has {', '.join(sorted(unknown))}, which mean nothing here.")
    for key in ("mean", "std"):
        values = settings[key]
        if not isinstance(values, list | tuple) or len(values) != 3 or not all(isinstance(v, int | float) for v in values):
            raise ExportError(f"PRETRAINED_CFG's {key} must be three numbers, one a colour.")
    return settings


def _download(name: str, pretrained: str, tag: dict[str, Any]) -> Path:
    """open_clip's own download, with its progress bars; then the file is held against the hash that the hub gave."""
    try:
        path = _fetch(tag)
    except Exception as err:
        cause = err.__context__ or err
        raise ExportError(f"The weights of {name} {pretrained} could not be downloaded: {' '.join(str(cause).split())}") from err
    blob = path.resolve()
    # The hub names a large file by its sha256, and its client checks the size alone.
    if re.fullmatch(r"[0-9a-f]{64}", blob.name) and sha256(blob) != blob.name:
        path.unlink()
        blob.unlink(missing_ok=True)
        raise ExportError(f"The downloaded weights of {name} {pretrained} have the wrong sha256 and were deleted; run it again.")
    return path


def _fetch(tag: dict[str, Any]) -> Path:
    """One file after the other: asked for its default, open_clip tells only why the last one that it tried failed."""
    repository, _, file = str(tag.get("hf_hub", "")).rpartition("/")
    if not repository:
        return Path(download_pretrained(tag))
    for safe in _get_safe_alternatives(file or HF_WEIGHTS_NAME):
        try:
            return Path(download_pretrained_from_hf(repository, filename=safe))
        except FileNotFoundError as err:
            if not isinstance(err.__context__, EntryNotFoundError):
                raise
    return Path(download_pretrained(tag))


def _revision(path: Path) -> str | None:
    return path.parent.name if path.parent.parent.name == "snapshots" else None


def _licence(tag: dict[str, Any]) -> str | None:
    """What the model card says, where it can be asked."""
    repository = "/".join(str(tag.get("hf_hub", "")).split("/")[:2])
    if not repository:
        return None
    try:
        card = huggingface_hub.model_info(repository).card_data
    except Exception:  # the hub's client raises its HTTP library's own errors too, and a licence is no reason to fail
        return None
    return str(card.license) if card and card.license else None


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _warnings_are_errors(name: str) -> Iterator[None]:
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    listener = Listener(logging.WARNING)
    logging.getLogger().addHandler(listener)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
    except Exception as err:  # a file that is no checkpoint makes torch and safetensors raise nearly everything
        raise ExportError(f"The weights don't fit {name}: {' '.join(str(err).split())[:300]}") from err
    finally:
        logging.getLogger().removeHandler(listener)
    said += [str(one.message) for one in caught if issubclass(one.category, UserWarning)]
    if said:
        raise ExportError(f"open_clip warns while it loads {name}: {said[0]}")
