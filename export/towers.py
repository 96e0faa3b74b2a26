"""open_clip's two towers as ONNX graphs: pixels and ids in, normalised embeddings out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx import TensorProto
from open_clip.transformer import QuickGELU, ResidualAttentionBlock, VisionTransformer
from PIL import Image
from torch import Tensor, nn

from export.graph import CONTRIB, Floats, Graph, calibrate
from export.source import ExportError, Source
from export.traced import write_traced

# The slope of QuickGELU's sigmoid (openai/CLIP, clip/model.py), and the least values of x * sigmoid(x) and of GELU.
SLOPE = 1.702
LEAST_SILU, LEAST_GELU = -0.2785, -0.17
# Eight images of ViT-B/32: the weights are read once for all of them. Four gained nearly as much; more was not measured.
ROWS_A_RUN = 400


def text_features(model: Any, ids: Tensor) -> Tensor:
    """The text embedding [n, d], not normalised, at the ids' own length [n, length <= context length].

    Exact for a causal mask and pooling at the end token, the highest id: nothing behind it can matter.
    """
    length = ids.shape[1]
    x = model.token_embedding(ids) + model.positional_embedding[:length]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    x = x[torch.arange(ids.shape[0], device=ids.device), ids.argmax(1)]
    projection = model.text_projection
    return projection(x) if isinstance(projection, nn.Module) else x @ projection


def write_encoder(source: Source, encoder: str, precision: str, folder: Path, shown: Sequence[Image.Image] = ()) -> None:
    """image.onnx or text.onnx, in fp32 or int8. `shown`: pictures to calibrate an int8 image encoder on. Raises ExportError for what can't be expressed."""
    path, settings = folder / f"{encoder}.onnx", source.settings
    if encoder == "text":
        return _write_text(source.model, precision, path)
    visual, mean, std = source.model.visual, settings["mean"], settings["std"]
    if type(visual) is not VisionTransformer:
        return write_traced(visual, mean, std, precision, path)
    inputs = _write_image(visual, mean, std, Graph("fp32"), path)
    if precision == "int8":
        assert shown
        pixels = [np.asarray(one.convert("RGB").resize((visual.image_size[1], visual.image_size[0]))) for one in shown]
        largest = calibrate(path, inputs, [{"pixels": one[None]} for one in pixels])
        _write_image(visual, mean, std, Graph("int8", largest), path)


def max_batch(visual: Any) -> int:
    """How many images a run of the image encoder is best given; 1 where company would change an embedding."""
    return max(1, ROWS_A_RUN // len(visual.positional_embedding)) if type(visual) is VisionTransformer else 1


def _write_text(model: Any, precision: str, path: Path) -> None:
    """int64 [n, length] to the normalised embedding float32 [n, d]."""
    text, graph = model if hasattr(model, "token_embedding") else model.text, Graph(precision)
    width, last = text.positional_embedding.shape[1], graph.constant(np.array([1]))
    x = _token_embeddings(graph, _array(text.token_embedding.weight))
    shape = graph.op("Shape", "ids")
    length = graph.op("Slice", shape, last, graph.constant(np.array([2])))
    start = graph.constant(np.array([0]))
    positions = graph.op("Slice", graph.constant(_array(text.positional_embedding)), start, length, start)
    shape = graph.op("Concat", shape, graph.constant(np.array([width])), axis=0)
    # The end token has the highest id, and only its row is asked for.
    end = graph.op("ArgMax", "ids", axis=1, keepdims=1)
    x = _transformer(
        graph, text.transformer, graph.op("Add", x, positions), shape, causal=True,
        pick=lambda rows: graph.op("GatherND", rows, end, batch_dims=1),
    )  # fmt: skip
    projection = text.text_projection
    is_module = isinstance(projection, nn.Module)
    x = graph.op(
        "MatMul", _norm(graph, text.ln_final, x), graph.constant(_array(projection.weight.T if is_module else projection))
    )
    if is_module and projection.bias is not None:
        x = graph.op("Add", x, graph.constant(_array(projection.bias)))
    x = graph.op("LpNormalization", x, axis=-1)
    graph.write(path, ("ids", TensorProto.INT64, ["n", "length"]), x, model.visual.output_dim)


def _write_image(visual: Any, mean: tuple[float, ...], std: tuple[float, ...], graph: Graph, path: Path) -> dict[str, str]:
    """uint8 [n, S, S, 3] to the normalised embedding float32 [n, d]; scaling, mean and standard deviation are inside. The products' inputs."""
    if visual.attn_pool is not None or visual.pool_type != "tok":
        raise ExportError("The image tower pools otherwise than by its class token, which a bundle can't express yet.")
    side, patch, grid = visual.image_size[0], visual.patch_size[0], visual.grid_size[0]
    # The patch convolution as a product of the pixels as they come: [row, column, colour] by width, 0 to 255.
    kernel = _array(visual.conv1.weight).transpose(2, 3, 1, 0)
    scale, shift = 1 / (255 * np.array(std, np.float32)), -np.array(mean, np.float32) / np.array(std, np.float32)
    weight = (kernel * scale[:, None]).reshape(patch * patch * 3, -1).astype(np.float32)
    positions = _array(visual.positional_embedding).copy()
    positions[0] += _array(visual.class_embedding)
    positions[1:] += (kernel * shift[:, None]).sum((0, 1, 2))
    x = graph.op("Reshape", "pixels", graph.constant(np.array([-1, grid, patch, grid, patch * 3])))
    x = graph.op(
        "Reshape", graph.op("Transpose", x, perm=[0, 1, 3, 2, 4]), graph.constant(np.array([-1, grid * grid, len(weight)]))
    )
    x = graph.bytes_linear(x, weight)
    x = graph.op("Pad", x, graph.constant(np.array([0, 1, 0, 0, 0, 0])))
    x = graph.op("Add", x, graph.constant(positions))
    if not isinstance(visual.ln_pre, nn.Identity):
        x = _norm(graph, visual.ln_pre, x)
    shape, first = graph.constant(np.array([-1, *positions.shape])), graph.constant(np.array(0))
    x = _transformer(graph, visual.transformer, x, shape, causal=False, pick=lambda rows: graph.op("Gather", rows, first, axis=1))
    x = graph.op("MatMul", _norm(graph, visual.ln_post, x), graph.constant(_array(visual.proj)))
    x = graph.op("LpNormalization", x, axis=-1)
    graph.write(path, ("pixels", TensorProto.UINT8, ["n", side, side, 3]), x, visual.output_dim)
    return graph.inputs


def _transformer(graph: Graph, transformer: Any, x: str, shape: str, *, causal: bool, pick: Any) -> str:
    """x [n, s, d] to the row [n, d] that `pick` takes: behind the last attention no other row matters."""
    blocks = transformer.resblocks
    x = graph.op("Reshape", x, graph.constant(np.array([-1, blocks[0].attn.embed_dim])))
    for i, block in enumerate(blocks):
        if type(block) is not ResidualAttentionBlock:
            raise ExportError(f"The model's blocks are of the kind {type(block).__name__}, which a bundle can't express yet.")
        attention, width = block.attn, block.attn.embed_dim
        weight, bias = _array(attention.in_proj_weight.T).copy(), _array(attention.in_proj_bias).copy()
        out, out_bias = _weights(attention.out_proj, block.ls_1)
        # What attention gives is a mean of values: smoothing it is smoothing these.
        smoothing = graph.smoothing(f"{i}.out_proj", out)
        weight[:, 2 * width :] /= smoothing
        bias[2 * width :] /= smoothing
        y, weight = _smoothed_norm(graph, block.ln_1, x, weight, f"{i}.in_proj")
        y = graph.attention(y, weight, bias, f"{i}.in_proj", attention.num_heads, shape, causal=causal)
        if block is blocks[-1]:
            x, y = (pick(graph.op("Reshape", rows, shape)) for rows in (x, y))
        x = graph.op("Add", x, graph.linear(y, out * smoothing[:, None], out_bias, f"{i}.out_proj"))
        quick = isinstance(block.mlp.gelu, QuickGELU)
        weight, bias = _weights(block.mlp.c_fc)
        if quick:
            # x * sigmoid(slope * x) with the slope in the weights: one pass less.
            weight, bias = SLOPE * weight, SLOPE * bias
        y, weight = _smoothed_norm(graph, block.ln_2, x, weight, f"{i}.c_fc")
        y = graph.linear(y, weight, bias, f"{i}.c_fc")
        y = graph.op("QuickGelu", y, domain=CONTRIB, alpha=1.0) if quick else graph.op("Gelu", y)
        weight, bias = _weights(block.mlp.c_proj, block.ls_2)
        # Behind an activation single rows reach far: scaled row by row, they don't blur the rest.
        least = LEAST_SILU if quick else LEAST_GELU
        y = graph.linear(y, weight / SLOPE if quick else weight, bias, least=least)
        x = graph.op("Add", x, y)
    return x


def _token_embeddings(graph: Graph, table: Floats) -> str:
    rows, index = np.unique(table, axis=0, return_inverse=True)
    ids = "ids"
    # Equal rows are stored once where that saves half: a vocabulary of which training saw a small part.
    if len(rows) < len(table) / 2:
        table, ids = rows, graph.op("Gather", graph.constant(index.reshape(-1).astype(np.int32)), ids)
    if not graph.eight:
        return str(graph.op("Gather", graph.constant(table), ids))
    scale = np.maximum(np.abs(table).max(axis=1, keepdims=True), 1e-12) / np.float32(127)
    integers = graph.op("Gather", graph.constant(np.rint(table / scale).astype(np.int8)), ids)
    return str(graph.op("Mul", graph.op("Cast", integers, to=TensorProto.FLOAT), graph.op("Gather", graph.constant(scale), ids)))


def _norm(graph: Graph, norm: nn.LayerNorm, x: str, smoothing: Floats | float = 1.0) -> str:
    weights = (graph.constant(_array(norm.weight) / smoothing), graph.constant(_array(norm.bias) / smoothing))
    return str(graph.op("LayerNormalization", x, *weights, axis=-1, epsilon=norm.eps))


def _smoothed_norm(graph: Graph, norm: nn.LayerNorm, x: str, weight: Floats, product: str) -> tuple[str, Floats]:
    """The normalised x, and the weight of the product that takes it."""
    smoothing = graph.smoothing(product, weight)
    return _norm(graph, norm, x, smoothing), weight * smoothing[:, None]


def _weights(linear: nn.Linear, scale: nn.Module | None = None) -> tuple[Floats, Floats]:
    """Weight [in, out] and bias [out], with open_clip's LayerScale inside."""
    factor = _array(scale.gamma) if scale is not None and hasattr(scale, "gamma") else np.float32(1)
    return _array(linear.weight.T) * factor, _array(linear.bias) * factor


def _array(tensor: Tensor) -> Floats:
    array: Floats = tensor.detach().float().numpy()
    return array
