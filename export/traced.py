"""Towers without a graph of our own (ResNets), through torch's exporter."""

import tempfile
import warnings
from pathlib import Path
from typing import Any

import onnx
import torch
import torch.nn.functional as F
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn

from export.graph import OPSET
from export.model_file import write_model


class _Traced(nn.Module):
    """What torch traces of a tower without a graph of our own."""

    def __init__(self, visual: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.visual = visual
        self.register_buffer("scale", (1 / (255 * torch.tensor(std))).view(1, 3, 1, 1))
        self.register_buffer("shift", (-torch.tensor(mean) / torch.tensor(std)).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        x = pixels.permute(0, 3, 1, 2).to(torch.float32) * self.scale + self.shift
        return F.normalize(self.visual(x), dim=-1)


def write_traced(
    visual: Any, mean: tuple[float, ...], std: tuple[float, ...], precision: str, path: Path
) -> None:
    """By torch's exporter, for ResNets; in 8 bits their products are, their convolutions stay
    float.
    """
    size = visual.image_size
    side = size[0] if isinstance(size, tuple) else size
    with torch.no_grad(), warnings.catch_warnings():
        # The exporter warns of its own internals.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _Traced(visual, mean, std).eval(),
            (torch.zeros(2, side, side, 3, dtype=torch.uint8),),
            dynamo=True,
            input_names=["pixels"],
            output_names=["embeddings"],
            dynamic_shapes=({0: torch.export.Dim("n", min=1, max=1024)},),
            opset_version=OPSET,
            external_data=False,
            verbose=False,
            optimize=True,
        )
    assert program is not None
    model = program.model_proto
    # Names of source files and stack traces belong to the machine that exported.
    graph = model.graph
    for part in (
        model,
        graph,
        *graph.node,
        *graph.value_info,
        *graph.initializer,
        *graph.input,
        *graph.output,
    ):
        part.ClearField("metadata_props")
    for node in graph.node:
        node.ClearField("doc_string")
    del graph.value_info[:]
    if precision == "fp32":
        _write(model, path)
        return
    with tempfile.TemporaryDirectory(dir=path.parent) as other:
        target = Path(other) / path.name
        quantize_dynamic(
            model,
            target,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
        )
        _write(onnx.load(target), path)


def _write(model: onnx.ModelProto, path: Path) -> None:
    constants = [*model.graph.initializer]
    del model.graph.initializer[:]
    write_model(model, constants, path)
