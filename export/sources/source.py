"""Where weights come from: a model and tag of the table, fetched from the hub, or a checkpoint
file. No torch.

`models.json` holds what open_clip knows of its plain vision transformers: `python -m
dev.make.model_table` writes it.
"""

import difflib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from classifier.contract.bundle import Weights, sha256
from export.errors import ExportError
from export.graphs import skeleton
from export.graphs.plain import skeleton_of
from export.graphs.rotation import rotated
from export.judging.checks import (
    check_activation,
    check_memory,
    check_settings,
    named_settings,
    with_right_activation,
)
from export.sources import hub
from export.sources.architecture import Architecture
from export.sources.checkpoint import Checkpoint, CheckpointError, open_checkpoint
from export.table.rows import TABLE
from export.tokenizers import hub_tokenizer
from export.tokenizers.hub_tokenizer import HubTokenizer

# Entries that a checkpoint may have besides the two towers: OpenAI's archives carry their sizes and
# masks along, and CoCa's a decoder that writes captions.
EXTRAS = re.compile(
    r"input_resolution|context_length|vocab_size|.*attn_mask|logit_bias|.*num_batches_tracked"
    r"|text_decoder\..*|transformer\.embeddings\.position_ids|transformer\.embed_positions\.weights"
)


class NeedsTorchError(ExportError):
    """A model that only torch can read."""


@dataclass(frozen=True)
class Source:
    """A model's weights, and what they don't say."""

    name: str
    architecture: Architecture
    arrays: Mapping[str, NDArray[np.float32]]  # by open_clip's names
    settings: dict[str, Any]  # mean, std, interpolation, resize_mode, quick_gelu
    weights: Weights
    licence: str
    model: Any = None  # open_clip's own, in eval mode, if the weights came through torch
    tokenizer: HubTokenizer | None = None  # if it isn't CLIP's own
    graph: onnx.ModelProto | None = None  # of the image tower, if torch traced it for this export
    rotated: bool = False  # whether `traced` gives a tower with its residual stream turned

    @property
    def logit_scale(self) -> float:
        return float(np.exp(self.arrays["logit_scale"]).item())

    @property
    def logit_bias(self) -> float | None:
        """What SigLIP's loss adds to each logit before its sigmoid; CLIP's own loss has none."""
        bias = self.arrays.get("logit_bias")
        return None if bias is None else float(bias.item())

    @property
    def image_size(self) -> int:
        """The side of the image encoder's square, in pixels."""
        return self.architecture.image.image_size

    def traced(self) -> skeleton.TracedGraph:
        """The image tower as a graph, with its weights. Raises NotRotatableError."""
        graph = self.graph or skeleton_of(self.architecture)
        mean = self.settings["mean"]
        traced = skeleton.TracedGraph(graph, self.arrays, mean, self.settings["std"])
        return rotated(traced) if self.rotated else traced


@dataclass(frozen=True)
class Request:
    """What to make a bundle from.

    `trained_with`: for a file, the tag or the settings that it was trained with. `accepted`: a
    licence that the user accepts. `language`: of the texts, for a tokenizer that asks for one.
    """

    model: str
    pretrained: str
    trained_with: str | dict[str, Any] | None = None
    licence: str | None = None
    revision: str | None = None
    accepted: str | None = None
    language: str | None = None
    tokenizer_revision: str | None = None

    def tokenizer(
        self, name: str, known: Mapping[str, Any] | None, causal: bool, say: Callable[[str], None]
    ) -> HubTokenizer | None:
        """Fetches a model's tokenizer: `known` are its repository and what open_clip gives it, None
        for CLIP's own. Raises ExportError.
        """
        if known:
            return hub_tokenizer.fetch(
                known["repository"],
                known["text"],
                say,
                dynamic_length=causal,
                revision=self.tokenizer_revision,
                accepted=self.accepted,
                language=self.language,
            )
        for option in ("language", "tokenizer_revision"):
            if value := getattr(self, option):
                given = f"{option.upper()}={value}"
                raise ExportError(f"{name} has CLIP's own tokenizer; leave out {given}.")
        return None


def read_table() -> dict[str, Any]:
    """`architectures` by model, `tokenizers` that aren't CLIP's own, `pretrained` settings by model
    and tag, models that need torch, and why others are `refused`.
    """
    table: dict[str, Any] = json.loads(TABLE.read_text())
    return table


def load(request: Request, say: Callable[[str], None]) -> Source:
    """Without torch. Raises NeedsTorchError for what isn't in the table, ExportError for what is
    wrong.
    """
    table = read_table()
    name = request.model
    path = Path(request.pretrained).expanduser()
    check_name(name, table)
    tags = table["pretrained"].get(name, {})
    is_file = path.is_file()
    tag = str(request.trained_with if is_file else request.pretrained)
    way = table["pairs"].get(name, {}).get(tag, "")
    if way.startswith("refused: "):
        raise ExportError(way.removeprefix("refused: "))
    if is_file:
        settings = named_settings(name, request.trained_with, tags)
    else:
        settings = tags.get(request.pretrained.lower().replace("-", "_"))
        if settings is None:
            raise ExportError(
                f"{request.pretrained} is neither a file nor a tag of {name}; its tags:"
                f" {', '.join(tags) or 'none'}."
            )
    if not is_file:
        name = with_right_activation(name, settings, table["architectures"], say)
    architecture = Architecture.model_validate(table["architectures"][name])
    check_activation(name, settings, architecture.quick_gelu)
    check_settings(name, settings)
    check_memory(name, architecture.shapes())
    known = table["tokenizers"].get(name)
    tokenizer = request.tokenizer(name, known, architecture.text.own_length, say)
    if is_file:
        weights = Weights(source=path.name, revision=None, sha256=sha256(path))
        licence = request.licence
    else:
        fetched = hub.fetch(
            settings["repository"],
            settings["files"],
            request.revision,
            request.licence,
            request.accepted,
            say,
        )
        path = fetched.path
        licence = fetched.licence
        weights = Weights(
            source=settings["repository"], revision=fetched.revision, sha256=fetched.sha256
        )
    arrays = read_checkpoint(path, name, architecture)
    return Source(
        name,
        architecture,
        arrays,
        settings,
        weights,
        licence or f"unknown: see where {weights.source} came from",
        tokenizer=tokenizer,
    )


def check_name(name: str, table: Mapping[str, Any]) -> None:
    """Raises NeedsTorchError or ExportError for a model that isn't in the table."""
    if name in table["architectures"]:
        return
    if name in table["refused"]:
        raise ExportError(table["refused"][name])
    if name in table["needs_torch"]:
        raise NeedsTorchError(f"{name} has no traced graph here.")
    known = [*table["architectures"], *table["needs_torch"]]
    near = difflib.get_close_matches(name, known, n=8, cutoff=0.3) or ["ViT-B-32"]
    raise ExportError(
        f"{name} is no model of open_clip {table['open_clip']}; there are {', '.join(near)}, …"
        " `make models` lists all with the way of their export."
    )


def read_checkpoint(path: Path, name: str, architecture: Architecture) -> Checkpoint:
    """Raises ExportError if a weight is missing, has another shape, or has no place."""
    try:
        checkpoint = open_checkpoint(path)
    except CheckpointError as err:
        raise ExportError(f"The weights don't fit {name}: {err}.") from err
    shapes = architecture.shapes()
    name_of_positions = "visual.positional_embedding"
    positions = checkpoint.shapes.get(name_of_positions, ())
    if name_of_positions in shapes and positions and positions[0] != shapes[name_of_positions][0]:
        raise ExportError(
            f"The weights don't fit {name}: they have positions for {positions[0] - 1} patches, and"
            f" {name} has {shapes[name_of_positions][0] - 1}. Name the model that they"
            " were trained as."
        )
    missing = [part for part in shapes if part not in checkpoint.shapes]
    strange = [
        part for part in checkpoint.shapes if part not in shapes and not EXTRAS.fullmatch(part)
    ]
    wrong = [
        part
        for part in shapes
        if part not in missing and squeezed(checkpoint.shapes[part]) != squeezed(shapes[part])
    ]
    for parts, problem in (
        (missing, "lack"),
        (strange, "have no place for"),
        (wrong, "have another shape of"),
    ):
        if parts:
            raise ExportError(
                f"The weights don't fit {name}: they {problem} {', '.join(parts[:3])}."
            )
    return checkpoint


def squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return () if shape == (1,) else shape  # a logit scale may be either
