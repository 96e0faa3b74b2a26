"""What is known of open_clip's weights, a row for each model and tag.

It needs the standard library alone. models.json comes from open_clip and from the models' shapes,
model_facts.json from what their authors and open_clip's publish, each with its source, and
measured.json from `make benchmark NAME=models`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("models.json")
FACTS = Path(__file__).with_name("model_facts.json")
MEASURED = Path(__file__).with_name("measured.json")
PRICES = Path(__file__).parents[2] / "examples" / "prices.json"
DEFAULT = ("ViT-B-32-quickgelu", "openai")
# Who measured a recall, unless its entry says otherwise.
RECALL_SOURCE = "open_clip multilingual"
# docs/performance.md: a guess at the default in 8 bits, on the default function.
GUESSED_SECONDS = 0.1
FUNCTION_MB = 3008
# The rows of a token table with which text towers were measured, CLIP's own.
VOCABULARY = 49408
# What a bundle in 8 bits takes: of each encoder the measurement, and its units in one of the table.
LOADED = {
    "megabytes_int8": ("bytes", 1e6),
    "start": ("load_s", 1.0),
    "memory": ("memory_mb", 1.0),
}
# By encoder: the work in models.json, and the time in a Row.
TIMES = {"image": "image", "text": "label"}
# Towers of these names do their work at a pace of their own; all others are plain transformers.
KINDS = ("coca", "siglip", "clipa", "pe-core", "eva", "vitamin", "mobileclip", "convnext", "rn")


@dataclass(frozen=True)
class Row:
    """A model and a tag; None stands for what nobody has looked up.

    `way` is that of the export, or why it is refused. `imagenet`, `average` of 38 sets and
    `recall` over 36 languages are percentages; `recall_source` says who measured it, since ways
    differ. `image` and `label` are the times of an image and of
    nine new labels in 8 bits as multiples of the default's, with those in other precisions;
    `dollars`: of a million images. `megabytes` are those of the weights in fp32, `megabytes_int8`
    of both encoders in 8 bits; `start` and `memory`: processor seconds and MB of loading these.
    `languages` are ISO codes, `business` says whether the licence lets a business use the weights.
    `bundle` is the setting of cdk.json, `checked` when the licence was last looked up.
    `computed` are the fields that come from shapes instead of measurements.
    """

    model: str
    tag: str
    way: str
    imagenet: float | None = None
    average: float | None = None
    recall: float | None = None
    recall_source: str | None = None
    image: float | None = None
    image_fp32: float | None = None
    image_int14: float | None = None
    label: float | None = None
    label_fp32: float | None = None
    label_int14: float | None = None
    dollars: float | None = None
    megabytes: float | None = None
    megabytes_int8: float | None = None
    start: float | None = None
    memory: float | None = None
    languages: list[str] | None = None
    licence: str | None = None
    business: bool | None = None
    command: str | None = None
    bundle: str | None = None
    checked: str | None = None
    computed: list[str] = field(default_factory=list)


def read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def languages_of(repository: str) -> list[str] | None:
    """Of labels, by what the authors of these weights publish."""
    facts = read(FACTS)
    found: list[str] | None = facts["languages"].get(
        facts["weights"].get(repository, {}).get("languages")
    )
    return found


def licence_of(repository: str) -> str | None:
    """By the table."""
    found: str | None = read(FACTS)["weights"].get(repository, {}).get("licence")
    return found


def rows() -> list[Row]:
    """The best on ImageNet first."""
    table, facts, measured = read(TABLE), read(FACTS), read(MEASURED)
    found = []
    for model, tags in table["pairs"].items():
        costs = {}
        if model in table["costs"]:
            costs = costs_of(model, table["costs"], measured, table["architectures"][model]["text"])
        for tag, way in tags.items():
            accuracy = facts["accuracy"].get(model, {}).get(tag, {})
            repository = table["pretrained"].get(model, {}).get(tag, {}).get("repository")
            weights = facts["weights"].get(repository, {})
            there = way == "without torch"
            found.append(
                Row(
                    model,
                    tag,
                    way,
                    **{name: accuracy.get(name) for name in ("imagenet", "average", "recall")},
                    recall_source=accuracy.get("recall_source", RECALL_SOURCE)
                    if "recall" in accuracy
                    else None,
                    **costs,
                    languages=facts["languages"].get(weights.get("languages")),
                    licence=weights.get("licence"),
                    business=facts["business"].get(weights.get("licence")),
                    command=f"make model MODEL={model} PRETRAINED={tag}" if there else None,
                    bundle=f"models/{model}-{tag}" if there else None,
                    checked=facts["sources"].get(weights.get("licence_source"), {}).get("read"),
                )
            )
    return sorted(found, key=lambda row: -(row.imagenet or 0))


def costs_of(
    model: str, work: Mapping[str, Any], measured: Mapping[str, Any], text: Mapping[str, Any]
) -> dict[str, Any]:
    """The fields of a Row that cost time, memory or money. What isn't measured is computed: times
    from the work, as the largest tower of its kind that was measured does it, the rest from the
    size of the weights.
    """
    own, default = work[model], work[DEFAULT[0]]
    figures: dict[str, Any] = {"megabytes": own["megabytes"]}
    computed: list[str] = []
    towers = [_tower(measured, encoder, model) for encoder in ("image", "text")]
    for tower, (encoder, name) in zip(towers, TIMES.items(), strict=True):
        like = tower or _largest_alike(measured, encoder, model, work)
        for precision in ("int8", "fp32", "int14"):
            key = name if precision == "int8" else f"{name}_{precision}"
            figures[key] = like[precision]["times"] if like else own[name] / default[name]
            if like and not tower:
                figures[key] *= own[name] / work[like["models"][0]][name]
            computed += [] if tower else [key]
    size = 1.0
    if not all(towers):
        towers = [_tower(measured, encoder, DEFAULT[0]) for encoder in ("image", "text")]
        size = own["megabytes"] / default["megabytes"]
        computed += LOADED
    for key, (name, unit) in LOADED.items():
        figures[key] = size * sum(tower["int8"][name] for tower in towers if tower) / unit
    if "megabytes_int8" not in computed:
        # A row of the token table: a byte for each number, and their scale.
        figures["megabytes_int8"] += (text["vocabulary"] - VOCABULARY) * (text["width"] + 4) / 1e6
    figures["dollars"] = dollars_a_million(figures["image"])
    computed += ["dollars"] if "image" in computed else []
    return figures | {"computed": computed}


def dollars_a_million(times: float) -> float:
    """Of images, one a call behind a REST API: `times` as long as the default in 8 bits."""
    prices = read(PRICES)
    seconds = times * GUESSED_SECONDS
    compute = seconds * FUNCTION_MB / 1024 * prices["gb_second"]
    return float(1e6 * (compute + prices["lambda_request"] + prices["api_call"]))


def _tower(measured: Mapping[str, Any], encoder: str, model: str) -> dict[str, Any] | None:
    """The measurements of the tower that a model shares with others."""
    return next((row for row in measured[encoder].values() if model in row["models"]), None)


def _largest_alike(
    measured: Mapping[str, Any], encoder: str, model: str, work: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The measurements of the tower with the most work among those of the model's kind."""
    alike = (row for row in measured[encoder].values() if _kind(row["models"][0]) == _kind(model))
    return max(alike, key=lambda row: work[row["models"][0]][TIMES[encoder]], default=None)


def _kind(model: str) -> str:
    return next((kind for kind in KINDS if kind in model.lower()), "plain")
