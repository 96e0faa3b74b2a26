"""What can't be exported, found before anything is downloaded or read."""

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from export.errors import ExportError
from export.sources.architecture import Shapes

# What the export takes besides the weights of both towers: images, activations, one tower's
# quantised weights. Under a limit of this and its 0.6 GB of weights ViT-B-32's export on 8 images
# took 1.7 GB, the page cache included.
WORKING_BYTES = 1_500_000_000
FLOAT_BYTES = 4
# Where a container finds its limit, in version 2 and in version 1 of Linux' control groups.
CONTAINER_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
SETTINGS = {"mean", "std", "interpolation", "resize_mode", "quick_gelu", "url", "hf_hub"}


def check_activation(name: str, settings: dict[str, Any], quick_gelu: bool) -> None:
    if bool(settings.get("quick_gelu")) != quick_gelu:
        other = name.removesuffix("-quickgelu") if quick_gelu else f"{name}-quickgelu"
        if quick_gelu and other == name:
            raise ExportError(
                f"open_clip contradicts itself: {name} has QuickGELU, and these weights are listed"
                " as trained without it."
            )
        trained = "with" if settings.get("quick_gelu") else "without"
        raise ExportError(
            f"These weights were trained {trained} QuickGELU and {name} is not; take MODEL={other}."
        )


def with_right_activation(
    name: str, settings: dict[str, Any], known: Mapping[str, Any], say: Callable[[str], None]
) -> str:
    """open_clip lists weights trained with QuickGELU under the name without it too; there they
    would be silently wrong.
    """
    right = f"{name}-quickgelu"
    if not settings.get("quick_gelu") or name.endswith("-quickgelu") or right not in known:
        return name
    say(f"These weights were trained with QuickGELU: taking {right}.")
    return right


def check_settings(name: str, settings: dict[str, Any]) -> None:
    if settings.get("resize_mode", "shortest") not in ("shortest", "squash"):
        raise ExportError(
            f"{name} pads images (resize_mode {settings['resize_mode']!r}), which a bundle can't"
            " express yet."
        )
    if settings.get("interpolation", "bicubic") not in ("bicubic", "bilinear"):
        raise ExportError(
            f"{name} resizes by {settings['interpolation']!r}; a bundle can express bicubic and"
            " bilinear."
        )


def check_memory(name: str, shapes: Shapes, *, copies: int = 1, memory: int | None = None) -> None:
    """Raises ExportError before anything is downloaded, if the export needs more memory than the
    machine has. `copies` of the fp32 weights are held at once: the encoders', and torch's own.
    """
    memory = memory or memory_here()
    weights = FLOAT_BYTES * sum(math.prod(shape) for shape in shapes.values())
    needed = copies * weights + WORKING_BYTES
    if needed > memory:
        raise ExportError(
            f"The export of {name} needs about {needed / 1e9:.1f} GB of memory for its"
            f" {weights / 1e9:.1f} GB of weights in fp32, and this machine has"
            f" {memory / 1e9:.1f} GB. Make the bundle on a larger machine: it is a folder that can"
            " be copied."
        )


def memory_here(limits: Iterable[Path] = CONTAINER_LIMITS) -> int:
    """The machine's memory in bytes, or what its container may take of it."""
    texts = [path.read_text().strip() for path in limits if path.is_file()]
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    # Without a limit version 2 says "max".
    return min([machine, *(int(text) for text in texts if text.isdigit())])


def named_settings(
    name: str, trained_with: str | dict[str, Any] | None, tags: Mapping[str, Any]
) -> dict[str, Any]:
    """The settings of a checkpoint file; `tags` are those that the model is known with. Raises
    ExportError.
    """
    if isinstance(trained_with, dict):
        settings = trained_with
    elif trained_with and trained_with.lstrip().startswith("{"):
        try:
            settings = dict(json.loads(trained_with))
        except ValueError as err:
            raise ExportError(f"PRETRAINED_CFG is no JSON object: {err}.") from err
    elif trained_with:
        settings = dict(tags.get(trained_with, {}))
        if not settings:
            raise ExportError(
                f"{trained_with} is no tag of {name}; its tags: {', '.join(tags) or 'none'}."
            )
    else:
        example = next(
            iter(tags), '{"mean": […], "std": […], "interpolation": "bicubic", "quick_gelu": false}'
        )
        raise ExportError(
            "A checkpoint file doesn't know its mean, standard deviation and activation, and a"
            " wrong one is silently wrong. Name the tag or the settings that it was trained with:"
            f" PRETRAINED_CFG={example}."
        )
    if isinstance(trained_with, str) and trained_with in tags:
        return settings
    missing = {"mean", "std"} - settings.keys()
    if missing:
        raise ExportError(f"PRETRAINED_CFG lacks {' and '.join(sorted(missing))}.")
    unknown = settings.keys() - SETTINGS
    if unknown:
        raise ExportError(
            f"PRETRAINED_CFG has {', '.join(sorted(unknown))}, which mean nothing here."
        )
    for key in ("mean", "std"):
        values = settings[key]
        if (
            not isinstance(values, list | tuple)
            or len(values) != 3
            or not all(isinstance(v, int | float) for v in values)
        ):
            raise ExportError(f"PRETRAINED_CFG's {key} must be three numbers, one a colour.")
    return settings
