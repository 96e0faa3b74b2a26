"""ONNX models on disk: their weights apart, and what calibration reads off their values."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from export.precisions import Floats

PAGE_BYTES = 4096


def write_model(model: onnx.ModelProto, constants: Iterable[onnx.TensorProto], path: Path) -> None:
    """Writes a model without initializers. Those that take a page or more go into a file next to
    it, in order, each from a page's start on. So ONNX Runtime maps them, and a start reads only the
    parts that it uses.
    """
    with path.with_suffix(".weights").open("wb") as weights:
        for constant in constants:
            data = constant.raw_data
            if len(data) >= PAGE_BYTES:
                weights.seek(-weights.tell() % PAGE_BYTES, os.SEEK_CUR)
                place = {
                    "location": Path(weights.name).name,
                    "offset": weights.tell(),
                    "length": len(data),
                }
                weights.write(data)
                constant.ClearField("raw_data")
                constant.data_location = TensorProto.EXTERNAL
                constant.external_data.extend(
                    onnx.StringStringEntryProto(key=key, value=str(value))
                    for key, value in place.items()
                )
            model.graph.initializer.append(constant)
    path.write_bytes(model.SerializeToString(deterministic=True))


def calibrate(
    path: Path, inputs: Mapping[str, str], runs: Sequence[Mapping[str, NDArray[Any]]]
) -> dict[str, Floats]:
    """The largest absolute value of every channel of the named values, over runs of the graph at
    `path`.
    """
    # The weights stay in their file: one protobuf message holds at most 2 GiB.
    model = onnx.load(path, load_external_data=False)
    model.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in inputs.values()
    )
    calibrating = path.with_suffix(".calibrating")  # next to the weights
    onnx.save(model, calibrating)
    options = ort.SessionOptions()
    options.add_session_config_entry("session.disable_prepacking", "1")
    session = ort.InferenceSession(calibrating, options, providers=["CPUExecutionProvider"])
    calibrating.unlink()
    largest = {product: np.zeros(1, np.float32) for product in inputs}
    for run in runs:
        values = session.run(list(inputs.values()), run)
        largest = {
            product: np.maximum(largest[product], np.abs(value).max(0))
            for product, value in zip(inputs, values, strict=True)
        }
    return largest
