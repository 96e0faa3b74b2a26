"""CLIP's two towers as ONNX graphs, from arrays alone: pixels and ids in, normalised embeddings
out.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from export.graphs.beginning import Beginning
from export.graphs.graph import Graph
from export.graphs.precisions import STEPS, Floats
from export.graphs.rewrite import write_traced
from export.graphs.rounding import InputStatistics
from export.graphs.text_inputs import start_id
from export.graphs.transformer import Arrays, norm, post_norm_transformer, transformer
from export.sources.architecture import Architecture, TextTower
from export.sources.source import Source

# Of what each named product takes.
Statistics = Mapping[str, InputStatistics]
# Eight images of ViT-B/32: the weights are read once for all of them. Four gained nearly as much;
# more was not measured.
ROWS_A_RUN = 400


def write_encoder(
    source: Source,
    encoder: str,
    precision: str,
    folder: Path,
    statistics: Statistics | None = None,
    *,
    signed: bool = False,
) -> dict[str, str]:
    """image.onnx or text.onnx in a precision of STEPS, and its weights next to it. `statistics`
    of its products' inputs come from `calibrate`; `signed`: see Graph. Returns the products and
    where to look for their inputs.
    """
    path = folder / f"{encoder}.onnx"
    architecture = source.architecture
    graph = Graph(STEPS[precision], statistics, signed=signed)
    if encoder == "text":
        _write_text(architecture, source.arrays, start_id(source), graph, path)
    else:
        write_traced(source.traced(), graph, path, architecture.dimension)
    return graph.inputs


def max_batch(source: Source, folder: Path) -> int:
    """How many images a run of the folder's image encoder is best given."""
    entry = onnx.load(folder / "image.onnx", load_external_data=False).graph.input[0]
    if not entry.type.tensor_type.shape.dim[0].dim_param:
        return 1
    traced = source.traced()
    attention = [node for node in traced.nodes if node.op_type == "MultiHeadAttention"]
    rows = max((traced.shapes[node.input[1]][1] for node in attention), default=ROWS_A_RUN)
    return max(1, ROWS_A_RUN // rows)


def _write_text(
    architecture: Architecture, arrays: Arrays, start: int | None, graph: Graph, path: Path
) -> None:
    """int64 [n, length] to the normalised embedding float32 [n, d]. What a text without a causal
    mask is filled with is in `ids`. A causal one comes without its start token, if each has the
    same, and without the tokens in `past`: see Beginning.
    """
    text = architecture.text
    arrays = text.weights(arrays)
    beginning = None if start is None else Beginning(graph, text, arrays, start)
    last = graph.constant(np.array([1]))
    ids = "ids"
    seen = ""
    if text.embed_cls:
        # The first pad is seen, the class token isn't, and nothing is behind an id of a pad.
        ids = graph.op("Pad", ids, graph.constant(np.array([0, 0, 0, 1])))
        ones = graph.op("Pad", ids, graph.constant(np.array([0, 1, 0, 0])), graph.constant(1))
        zero = graph.constant(np.array(0))
        found = graph.op("Not", graph.op("Equal", ones, zero))
        seen = graph.op("Cast", found, to=TensorProto.INT32)
    x = _token_embeddings(graph, arrays["token_embedding.weight"], ids)
    shape = graph.op("Shape", ids)
    length = graph.op("Slice", shape, last, graph.constant(np.array([2])))
    first = origin = graph.constant(np.array([0]))
    if beginning:
        first = graph.op("Add", beginning.length, last)
        length = graph.op("Add", first, length)
    positions = graph.op(
        "Slice", graph.constant(arrays["positional_embedding"]), first, length, origin
    )
    width = graph.constant(np.array([text.width]))
    x = graph.op("Add", x, positions)
    if text.embed_cls:
        row = (arrays["cls_emb"] + arrays["positional_embedding"][-1]).reshape(1, 1, -1)
        count = graph.op("Slice", shape, origin, last)
        one = graph.op("Concat", count, last, width, axis=0)
        x = graph.op("Concat", x, graph.op("Expand", graph.constant(row), one), axis=1)
        shape = graph.op("Shape", seen)
    shape = graph.op("Concat", shape, width, axis=0)
    if text.names == "roberta":
        x = norm(graph, arrays, "ln_embedding", text.epsilon, x)
        x = post_norm_transformer(graph, text, arrays, "transformer", x, shape)
        x = graph.op("ReduceMean", graph.op("Reshape", x, shape), last, keepdims=0)
    else:
        pick = _row_of_text(graph, text)
        x = transformer(
            *(graph, text, arrays, "transformer", x, shape),
            causal=text.causal,
            pick=pick,
            seen=seen,
            beginning=beginning,
        )
        x = norm(graph, arrays, "ln_final", text.epsilon, x)
    if text.projection == "linear":
        x = graph.op("MatMul", x, graph.constant(arrays["text_projection.weight"].T))
        x = graph.op("Add", x, graph.constant(arrays["text_projection.bias"]))
    elif text.projection == "mlp":
        x = graph.op("MatMul", x, graph.constant(arrays["text_projection.0"]))
        x = graph.op("MatMul", graph.op("Gelu", x), graph.constant(arrays["text_projection.2"]))
    elif text.projection == "matrix":
        x = graph.op("MatMul", x, graph.constant(arrays["text_projection"]))
    x = graph.op("LpNormalization", x, axis=-1)
    graph.write(path, ("ids", TensorProto.INT64, ["n", "length"]), x, architecture.dimension)


def _row_of_text(graph: Graph, text: TextTower) -> Callable[[str], Any]:
    """What takes the pooled row [n, d] of [n, s, d]."""
    if text.pool in ("first", "last"):
        place = graph.constant(np.array(0 if text.pool == "first" else -1))
        return lambda rows: graph.op("Gather", rows, place, axis=1)
    ids = "ids"
    if text.pool == "eos":
        ends = graph.op("Equal", ids, graph.constant(np.array(text.eos_id)))
        ids = graph.op("Cast", ends, to=TensorProto.INT64)
    # In CLIP's vocabulary the end token has the highest id.
    end = graph.op("ArgMax", ids, axis=1, keepdims=1)
    return lambda rows: graph.op("GatherND", rows, end, batch_dims=1)


def distinct_rows(table: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """The rows of a table, each once, and which of them each row is."""
    words = np.ascontiguousarray(table, np.float32).view(np.uint32)
    factors = np.random.default_rng(0).integers(2**63, size=words.shape[1], dtype=np.uint64)
    # Sums of integers are equal for equal rows; sorting whole rows takes 13 s for 256,000 of 768.
    sums = np.concatenate(
        [
            (words[i : i + 4096] * factors).sum(1, dtype=np.uint64)
            for i in range(0, len(words), 4096)
        ]
    )
    _, first, index = np.unique(sums, return_index=True, return_inverse=True)
    rows = table[first]
    if any(
        not np.array_equal(table[i : i + 4096], rows[index[i : i + 4096]])
        for i in range(0, len(table), 4096)
    ):
        return table, np.arange(len(table))
    return rows, index


def _token_embeddings(graph: Graph, table: Floats, ids: str) -> str:
    rows, index = distinct_rows(table)
    # Equal rows are stored once if that saves half: a vocabulary of which training saw a small
    # part.
    if len(rows) < len(table) / 2:
        table = rows
        ids = graph.op("Gather", graph.constant(index.reshape(-1).astype(np.int32)), ids)
    if not graph.quantised:
        return str(graph.op("Gather", graph.constant(table), ids))
    kind = np.int16 if graph.step.bits > 8 else np.int8
    scale = np.maximum(np.abs(table).max(axis=1, keepdims=True), 1e-12) / np.float32(
        np.iinfo(kind).max
    )
    integers = graph.op("Gather", graph.constant(np.rint(table / scale).astype(kind)), ids)
    return str(
        graph.op(
            "Mul",
            graph.op("Cast", integers, to=TensorProto.FLOAT),
            graph.op("Gather", graph.constant(scale), ids),
        )
    )
