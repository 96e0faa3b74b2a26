"""ONNX models on disk: their weights apart, and what calibration reads off their values."""

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from export.graphs.precisions import Floats
from export.graphs.rounding import InputStatistics, parts

PAGE_BYTES = 4096
# Of one run, spread evenly over its rows: second moments of more cost time and gain nothing.
MOMENT_ROWS = 64
# Runs whose rows are multiplied at once.
MOMENT_RUNS = 16


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
    path: Path,
    inputs: Mapping[str, str],
    runs: Sequence[Mapping[str, NDArray[Any]]],
    *,
    moments: bool = True,
) -> dict[str, InputStatistics]:
    """Statistics of the named values over runs of the graph at `path`, with second moments or
    without. Moments take 8 bytes a pair of channels, in files next to the graph that have no name.
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
    rows: dict[str, list[Floats]] = {product: [] for product in inputs}
    sums: dict[str, list[NDArray[np.float64]]] = {product: [] for product in inputs}
    for number, run in enumerate(runs, 1):
        for product, value in zip(inputs, session.run(list(inputs.values()), run), strict=True):
            largest[product] = np.maximum(largest[product], np.abs(value).max(0))
            if moments:
                rows[product].append(value[:: -(-len(value) // MOMENT_ROWS)].copy())
        if moments and (number % MOMENT_RUNS == 0 or number == len(runs)):
            for product, waiting in rows.items():
                x = np.concatenate(waiting).astype(np.float64)
                waiting.clear()
                some = [x[:, part] for part in parts(x.shape[1])]
                sums[product] = sums[product] or [_on_disk(path.parent, part) for part in some]
                for total, part in zip(sums[product], some, strict=True):
                    total += part.T @ part
    return {product: InputStatistics(largest[product], sums[product]) for product in inputs}


def _on_disk(folder: Path, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Zeros [k, k] for x [r, k], in a file that is gone with them."""
    with tempfile.TemporaryFile(dir=folder) as file:
        return np.memmap(file, np.float64, "w+", shape=(x.shape[1],) * 2)
