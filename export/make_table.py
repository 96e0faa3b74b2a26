"""Writes models.json from open_clip: every plain vision transformer with CLIP's own text tower and
tokenizer, and its tags.
"""

import json
from typing import Any

import open_clip
import torch
from open_clip.pretrained import get_pretrained_cfg, list_pretrained

from export.checks import check_settings
from export.errors import ExportError
from export.source import TABLE
from export.torch_source import describe, model_config, repository_and_files

KEPT = ("mean", "std", "interpolation", "resize_mode", "quick_gelu")


def make_table() -> dict[str, Any]:
    """`architectures` by model, `pretrained` settings by model and tag, models that need torch, and
    why others are `refused`.
    """
    architectures: dict[str, Any] = {}
    refused: dict[str, str] = {}
    needs_torch: list[str] = []
    for name in open_clip.list_models():
        try:
            config = model_config(name)
            # Shapes alone: nothing is allocated.
            with torch.device("meta"):
                architecture = describe(
                    open_clip.CLIP(
                        **{key: value for key, value in config.items() if key != "custom_text"}
                    )
                )
        except ExportError as err:
            refused[name] = str(err)
            continue
        if architecture.image:
            architectures[name] = architecture.model_dump()
        else:
            needs_torch.append(name)
    pretrained: dict[str, Any] = {}
    for name, tag in list_pretrained():
        settings = get_pretrained_cfg(name, tag)
        if name not in architectures or not settings.get("hf_hub"):
            continue
        try:
            check_settings(name, settings)
        except ExportError:
            continue
        repository, files = repository_and_files(settings)
        kept = {key: settings[key] for key in KEPT if key in settings}
        pretrained.setdefault(name, {})[tag] = {"repository": repository, "files": files, **kept}
    return {
        "open_clip": open_clip.__version__,
        "needs_torch": needs_torch,
        "refused": refused,
        "pretrained": pretrained,
        "architectures": architectures,
    }


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
