"""open_clip's two towers as ONNX graphs: pixels and ids in, normalised embeddings out."""

import warnings
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

OPSET = 20


def text_features(model: Any, ids: Tensor) -> Tensor:
    """The text embedding [n, d], not normalised, at the ids' own length [n, length <= context length].

    Exact for a causal mask and pooling at the end token, the highest id: nothing behind it can matter.
    """
    return _pooled(model, model.token_embedding(ids), ids)


def _pooled(model: Any, embedded: Tensor, ids: Tensor) -> Tensor:
    length = ids.shape[1]
    x = embedded + model.positional_embedding[:length]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    x = x[torch.arange(ids.shape[0], device=ids.device), ids.argmax(1)]
    projection = model.text_projection
    return projection(x) if isinstance(projection, nn.Module) else x @ projection


class ImageEncoder(nn.Module):
    """uint8 [n, S, S, 3] to the normalised embedding float32 [n, d]; scaling, mean and standard deviation are inside."""

    def __init__(self, model: Any, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.visual = model.visual
        self.register_buffer("scale", (1 / (255 * torch.tensor(std))).view(1, 3, 1, 1))
        self.register_buffer("shift", (-torch.tensor(mean) / torch.tensor(std)).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        x = pixels.permute(0, 3, 1, 2).to(torch.float32) * self.scale + self.shift
        return F.normalize(self.visual(x), dim=-1)


class TextEncoder(nn.Module):
    """int64 [n, length] to the normalised embedding float32 [n, d]."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        table = model.token_embedding.weight.detach()
        rows, index = torch.unique(table, dim=0, return_inverse=True)
        # Equal rows are stored once where that saves half: a vocabulary of which training saw a small part.
        self.shared = len(rows) < len(table) / 2
        self.rows = nn.Parameter(rows if self.shared else table, requires_grad=False)
        self.register_buffer("index", index.to(torch.int32).unsqueeze(1) if self.shared else torch.empty(0))

    def forward(self, ids: Tensor) -> Tensor:
        rows = F.embedding(ids, self.index).squeeze(-1) if self.shared else ids
        return F.normalize(_pooled(self.model, F.embedding(rows, self.rows), ids), dim=-1)


def write_onnx(module: nn.Module, example: Tensor, name: str, shape: dict[int, Any], path: Path) -> None:
    """One graph with its weights inside; `name` is the input's, `shape` its dynamic dimensions."""
    module.eval()
    with torch.no_grad(), warnings.catch_warnings():
        # The exporter warns of its own internals.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module, (example,), dynamo=True, input_names=[name], output_names=["embeddings"], dynamic_shapes=(shape,),
            opset_version=OPSET, external_data=False, verbose=False, optimize=True,
        )  # fmt: skip
    assert program is not None
    model = program.model_proto
    # Names of source files and stack traces belong to the machine that exported.
    model.ClearField("metadata_props")
    for part in (
        *model.graph.node,
        *model.graph.value_info,
        *model.graph.initializer,
        *model.graph.input,
        *model.graph.output,
        model.graph,
    ):
        part.ClearField("metadata_props")
    for node in model.graph.node:
        node.ClearField("doc_string")
    del model.graph.value_info[:]
    path.write_bytes(model.SerializeToString(deterministic=True))


def write_encoders(model: Any, mean: tuple[float, ...], std: tuple[float, ...], folder: Path) -> None:
    """image.onnx and text.onnx in fp32, with dynamic batch and text length."""
    size = model.visual.image_size
    side = size[0] if isinstance(size, tuple) else size
    batch = torch.export.Dim("n", min=1, max=1024)
    write_onnx(
        ImageEncoder(model, mean, std),
        torch.zeros(2, side, side, 3, dtype=torch.uint8),
        "pixels",
        {0: batch},
        folder / "image.onnx",
    )
    text = model if hasattr(model, "token_embedding") else model.text
    length = torch.export.Dim("length", min=2, max=text.context_length)
    ids = torch.zeros(2, 9, dtype=torch.int64)
    write_onnx(TextEncoder(text), ids, "ids", {0: batch, 1: length}, folder / "text.onnx")
