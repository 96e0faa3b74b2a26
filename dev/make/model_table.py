"""Writes models.json from open_clip: every model whose towers a bundle can express, and its tags;
and for every other model and tag the way or the reason.
"""

import json
from typing import Any

import open_clip
from open_clip.pretrained import get_pretrained_cfg, list_pretrained

from dev.make.skeletons import skeletons
from dev.make.work import costs
from export.errors import ExportError
from export.judging.checks import check_activation, check_settings, with_right_activation
from export.sources.architecture import TracedTower
from export.sources.open_clip_models import (
    REFUSES,
    architecture_of,
    model_config,
    repository_and_files,
    tokenizer_of,
)
from export.table.rows import TABLE

KEPT = ("mean", "std", "interpolation", "resize_mode", "quick_gelu")


def make_table() -> dict[str, Any]:
    """`architectures` by model and their `costs`, `tokenizers` that aren't CLIP's own, `pretrained`
    settings by model and tag, models that need torch, why others are `refused`, and `pairs`: for
    every model and tag the way, or the reason against it.
    """
    architectures: dict[str, Any] = {}
    work: dict[str, Any] = {}
    tokenizers: dict[str, Any] = {}
    refused: dict[str, str] = {}
    needs_torch: list[str] = []
    files = skeletons()
    for name in open_clip.list_models():
        try:
            architecture, _ = architecture_of(name)
        except ExportError as err:
            refused[name] = str(err)
            continue
        if isinstance(architecture.image, TracedTower):
            if name not in files:
                needs_torch.append(name)
                continue
            traced = architecture.image.model_copy(update={"skeleton": files[name]})
            architecture = architecture.model_copy(update={"image": traced})
        architectures[name] = architecture.model_dump(exclude_defaults=True)
        work[name] = costs(architecture)
        if tokenizer := tokenizer_of(name):
            tokenizers[name] = tokenizer
    pretrained: dict[str, Any] = {}
    pairs: dict[str, Any] = {}
    for name, tag in list_pretrained():
        settings = get_pretrained_cfg(name, tag)
        reason = refused.get(name) or refusal(name, settings)
        if reason:
            way = f"refused: {reason.removeprefix(f'{name} {REFUSES}')}"
        elif name in architectures:
            way = "without torch"
            repository, names = repository_and_files(settings)
            kept = {key: settings[key] for key in KEPT if key in settings}
            pretrained.setdefault(name, {})[tag] = {
                "repository": repository,
                "files": names,
                **kept,
            }
        else:
            way = "with torch"
        pairs.setdefault(name, {})[tag] = way
    return {
        "open_clip": open_clip.__version__,
        "needs_torch": needs_torch,
        "refused": refused,
        "pairs": pairs,
        "costs": work,
        "tokenizers": tokenizers,
        "pretrained": pretrained,
        "architectures": architectures,
    }


def refusal(name: str, settings: dict[str, Any]) -> str | None:
    """Why a tag of a model that could be exported can't."""
    taken = with_right_activation(
        name, settings, dict.fromkeys(open_clip.list_models()), lambda _: None
    )
    try:
        check_activation(taken, settings, bool(model_config(taken).get("quick_gelu")))
        check_settings(taken, settings)
    except ExportError as err:
        return str(err)
    return None


def main() -> None:
    table = make_table()
    for settings in (tag for tags in table["pretrained"].values() for tag in tags.values()):
        settings |= {key: list(settings[key]) for key in ("mean", "std")}
    TABLE.write_text(json.dumps(table, indent=1) + "\n")
    pairs = sum(len(tags) for tags in table["pretrained"].values())
    print(
        f"{TABLE}: {len(table['architectures'])} architectures, {pairs} pairs of a model and a tag"
    )


if __name__ == "__main__":
    main()
