"""Writes export/graphs/skeletons: open_clip's image towers that have no graph of our own."""

import gzip
import json
from typing import Any

import open_clip
from open_clip.pretrained import list_pretrained
from torch.utils._python_dispatch import TorchDispatchMode

from export.graphs.skeleton import FOLDER
from export.graphs.trace import trace

LARGE = 100_000
IN_PLACE = {"normal_", "uniform_", "erfinv_", "mul_", "add_", "div_", "clamp_", "zero_", "fill_"}


class WithoutInitialising(TorchDispatchMode):
    """Leaves large parameters as they are allocated, so that they take no memory."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.__name__.partition(".")[0] in IN_PLACE and args[0].numel() >= LARGE:
            return args[0]
        return func(*args, **(kwargs or {}))


def skeletons() -> dict[str, str]:
    """The file of every model that has a tag and no graph of our own; towers that are alike share
    one.
    """
    first: dict[str, str] = {}
    files = {}
    for name in dict.fromkeys(name for name, _ in list_pretrained()):
        config = open_clip.get_model_config(name)
        vision = config["vision_cfg"]
        pools = vision.get("attentional_pool") or vision.get("pool_type", "tok") != "tok"
        if "timm_model_name" in vision or isinstance(vision["layers"], list) or pools:
            key = json.dumps([vision, config["embed_dim"]], sort_keys=True)
            files[name] = first.setdefault(key, name)
    return files


def main() -> None:
    for old in FOLDER.glob("*.onnx.gz"):
        old.unlink()
    FOLDER.mkdir(exist_ok=True)
    for name in dict.fromkeys(skeletons().values()):
        with WithoutInitialising():
            visual = open_clip.create_model(name).visual
        content = gzip.compress(trace(visual).SerializeToString(deterministic=True), mtime=0)
        (FOLDER / f"{name}.onnx.gz").write_bytes(content)
        print(f"{name}: {len(content)} bytes", flush=True)


if __name__ == "__main__":
    main()
