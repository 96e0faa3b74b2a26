"""fp32 graphs to 8 bits, each encoder as keeps an embedding independent of its company."""

import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer


def quantize_image(source: Path, target: Path) -> None:
    """Products with dynamic 8-bit activations and 7-bit weights.

    Processors without VNNI saturate when they add two products of 8 bits by 8; with 7 a bundle says the same everywhere.
    Activations are scaled by the whole tensor, so the run time encodes one image at a time.
    """
    quantize_dynamic(
        source, target, op_types_to_quantize=["MatMul", "Gemm"], per_channel=True, reduce_range=True, weight_type=QuantType.QInt8
    )


def quantize_text(source: Path, target: Path) -> None:
    """8-bit weights in blocks of 128, and the token embedding table in 8 bits with a scale a row."""
    model = onnx.load(source)
    _split_gemm(model.graph)
    _quantize_table(model.graph)
    quantizer = MatMulNBitsQuantizer(model, bits=8, block_size=128, is_symmetric=True, accuracy_level=4)
    quantizer.process()
    quantizer.model.save_model_to_file(str(target), use_external_data_format=False)


def _split_gemm(graph: onnx.GraphProto) -> None:
    """Gemm with a constant weight to MatMul and Add, which is what the quantizer knows."""
    constants = {one.name: one for one in graph.initializer}
    for at, node in reversed(list(enumerate(graph.node))):
        flags = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        plain = flags.get("alpha", 1.0) == flags.get("beta", 1.0) == 1.0 and not flags.get("transA", 0)
        if node.op_type != "Gemm" or node.input[1] not in constants or not plain:
            continue
        weight = numpy_helper.to_array(constants[node.input[1]])
        name = node.output[0]
        graph.initializer.append(numpy_helper.from_array(weight.T.copy() if flags.get("transB") else weight, f"{name}.weight"))
        biased = len(node.input) == 3 and node.input[2]
        product = f"{name}.product" if biased else name
        parts = [helper.make_node("MatMul", [node.input[0], f"{name}.weight"], [product], name=f"{name}.product")]
        if biased:
            parts.append(helper.make_node("Add", [product, node.input[2]], [name], name=f"{name}.sum"))
        del graph.node[at]
        for part in reversed(parts):
            graph.node.insert(at, part)
    _drop_unused(graph)


def _quantize_table(graph: onnx.GraphProto) -> None:
    constants = {one.name: one for one in graph.initializer}
    at, gather = next(
        (i, n)
        for i, n in enumerate(graph.node)
        if n.op_type == "Gather" and n.input[0] in constants and constants[n.input[0]].data_type == onnx.TensorProto.FLOAT
    )
    table = numpy_helper.to_array(constants[gather.input[0]])
    scale = np.maximum(np.abs(table).max(axis=1, keepdims=True), 1e-12).astype(np.float32) / 127
    graph.initializer.append(numpy_helper.from_array(np.rint(table / scale).astype(np.int8), "tokens.int8"))
    graph.initializer.append(numpy_helper.from_array(scale, "tokens.scale"))
    ids, out = gather.input[1], gather.output[0]
    parts = [
        helper.make_node("Gather", ["tokens.int8", ids], ["tokens.row"], name="tokens.row"),
        helper.make_node("Cast", ["tokens.row"], ["tokens.float"], name="tokens.float", to=onnx.TensorProto.FLOAT),
        helper.make_node("Gather", ["tokens.scale", ids], ["tokens.row_scale"], name="tokens.row_scale"),
        helper.make_node("Mul", ["tokens.float", "tokens.row_scale"], [out], name="tokens.embedding"),
    ]
    del graph.node[at]
    for part in reversed(parts):
        graph.node.insert(at, part)
    _drop_unused(graph)


def _drop_unused(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input}
    for one in [one for one in graph.initializer if one.name not in used]:
        graph.initializer.remove(one)


def write_precision(folder: Path, encoder: str, precision: str) -> None:
    """Turns ENCODER.onnx of the folder from fp32 into the precision."""
    if precision == "fp32":
        return
    source = folder / f"{encoder}.onnx"
    with tempfile.TemporaryDirectory(dir=folder) as other:
        target = Path(other) / source.name
        (quantize_image if encoder == "image" else quantize_text)(source, target)
        target.replace(source)
