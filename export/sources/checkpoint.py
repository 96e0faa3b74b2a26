"""Reads checkpoint files without torch: safetensors, torch.save's archives and TorchScript
archives, as float32 arrays.

An archive's pickle may name tensors, containers and module objects only: nothing of what it holds
is ever called.
"""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

Floats = NDArray[np.float32]
# torch's storage classes. bfloat16 is the upper half of a float32.
STORAGES = {
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "DoubleStorage": np.float64,
    "BFloat16Storage": np.uint16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "BoolStorage": np.bool_,
    "ByteStorage": np.uint8,
}


class CheckpointError(Exception):
    """A file that can't be read without torch; the message says why."""


class Checkpoint(Mapping[str, Floats]):
    """Weights by name, each read from the file when it is asked for."""

    def __init__(
        self, shapes: dict[str, tuple[int, ...]], read: Callable[[str], NDArray[Any]]
    ) -> None:
        # Models trained on many devices have their names behind `module.`; open_clip's newer ones,
        # the text tower's behind `text.`.
        self._names = {name.removeprefix("module.").removeprefix("text."): name for name in shapes}
        self.shapes = {short: shapes[name] for short, name in self._names.items()}
        self._read = read

    def __getitem__(self, name: str) -> Floats:
        return self._read(self._names[name]).astype(np.float32, copy=False)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def open_checkpoint(path: Path) -> Checkpoint:
    """Raises CheckpointError."""
    if zipfile.is_zipfile(path):
        return _open_archive(path)
    try:
        file = safe_open(path, framework="numpy")
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as err:
        raise CheckpointError(
            f"{path.name} is neither a whole safetensors file nor a torch archive ({err})"
        ) from err
    strange = {part.get_dtype() for part in slices.values()} - {
        "F64",
        "F32",
        "F16",
        "I64",
        "I32",
        "U8",
        "BOOL",
    }
    if strange:
        raise CheckpointError(f"{path.name} holds weights of the type {', '.join(sorted(strange))}")
    return Checkpoint(
        {name: tuple(part.get_shape()) for name, part in slices.items()}, file.get_tensor
    )


class _Tensor:
    """A tensor that is described, and read later."""

    def __init__(
        self,
        storage: tuple[Any, ...],
        offset: int,
        size: tuple[int, ...],
        stride: tuple[int, ...],
        *_: object,
    ) -> None:
        self.kind = storage[1]
        self.key = storage[2]
        self.offset = offset
        self.size = tuple(size)
        self.stride = tuple(stride)


class _Module:
    """A module of a TorchScript archive: its attributes alone."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        self.attributes = state


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *_: tensor
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in STORAGES:
            return name
        if module.startswith("__torch__"):
            return _Module
        if module == "torch.jit._pickle":
            return lambda values, *_: values
        raise CheckpointError(f"the checkpoint holds a {module}.{name}, which is no weight")

    def persistent_load(self, pid: Any) -> Any:
        return pid


def _open_archive(path: Path) -> Checkpoint:
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise CheckpointError(f"{path.name} is no archive of torch's")
        try:
            with archive.open(pickles[0]) as file:
                content = _Unpickler(file).load()
        except CheckpointError:
            raise
        except Exception as err:  # a damaged pickle raises nearly everything
            raise CheckpointError(f"{path.name} can't be read ({err})") from err
    folder = pickles[0].removesuffix("data.pkl")
    if isinstance(content, Mapping) and "state_dict" in content:
        content = content["state_dict"]
    tensors = dict(_tensors(content, ""))
    if any(tensor.kind not in STORAGES for tensor in tensors.values()):
        raise CheckpointError(f"{path.name} holds weights of an unknown type")

    @lru_cache(maxsize=1)
    def read_storage(key: str) -> bytes:
        with zipfile.ZipFile(path) as archive:
            return archive.read(f"{folder}data/{key}")

    shapes = {name: tensor.size for name, tensor in tensors.items()}
    return Checkpoint(shapes, partial(_read_tensor, tensors, read_storage))


def _tensors(value: object, name: str) -> Iterator[tuple[str, _Tensor]]:
    """The tensors of nested modules and dicts, with their paths as names."""
    if isinstance(value, _Tensor):
        yield name, value
    attributes = value.attributes if isinstance(value, _Module) else value
    if isinstance(attributes, Mapping):
        for key, part in attributes.items():
            yield from _tensors(part, f"{name}.{key}" if name else str(key))


def _read_tensor(
    tensors: dict[str, _Tensor], read_storage: Callable[[str], bytes], name: str
) -> NDArray[Any]:
    tensor = tensors[name]
    kind = np.dtype(STORAGES[tensor.kind])
    values = np.frombuffer(read_storage(tensor.key), kind.newbyteorder("<"))[tensor.offset :]
    if tensor.kind == "BFloat16Storage":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    strides = [step * values.itemsize for step in tensor.stride]
    # as_strided checks no bounds of its own.
    last = (
        sum((n - 1) * step for n, step in zip(tensor.size, tensor.stride, strict=True))
        if 0 not in tensor.size
        else -1
    )
    if last >= len(values) or any(step < 0 for step in tensor.stride):
        raise CheckpointError(f"{name} reaches beyond what is stored of it")
    return np.lib.stride_tricks.as_strided(values, tensor.size, strides).copy()
