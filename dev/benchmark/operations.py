"""The operations that are measured, by who offers them."""

import base64
import io
import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dev.benchmark.ask import Context, event
from dev.benchmark.bundles import CHECKPOINT, FP32, MODEL
from export.judging.material import PHOTOGRAPHS

COUNTS = (1, 5, 9)
LABELS = [
    "a thumbnail with a blank or logo",
    "a thumbnail of a sexy person",
    "a thumbnail of a sport",
    "a thumbnail containing explicit adult content",
    "a thumbnail of a casual gaming stream",
    "a thumbnail with suggestive content",
    "a thumbnail of a music performance",
    "a thumbnail containing real-world violent content",
    "a thumbnail showing violent content from a video game",
]
Operations = dict[str, Callable[[Any], object]]


def thumbnail(width: int = 440, height: int = 248) -> bytes:
    """A JPEG of a photograph."""
    from PIL import Image

    file = io.BytesIO()
    Image.open(PHOTOGRAPHS / "judging" / "astronaut.jpg").resize((width, height)).save(
        file, "JPEG", quality=85
    )
    return file.getvalue()


def unseen(words: Iterator[int], count: int) -> list[str]:
    """Labels of 8 tokens with start and end token: two words and four digits, which are a token
    each.
    """
    nouns = ("dog", "cat", "car", "tree", "house", "boat", "bird", "horse")
    return [
        f"a {nouns[i // 10_000 % len(nouns)]} {i % 10_000:04}"
        for i in itertools.islice(words, count)
    ]


def ours(bundle: Path, data: bytes) -> Operations:
    from classifier.api.handler import Handler
    from classifier.model.encoders import Encoders

    encoders = Encoders.load(bundle, threads=os.cpu_count() or 1)
    handler = Handler(encoders)
    words = itertools.count()
    image = base64.b64encode(data).decode()
    spent = [""]
    pixels = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)

    def answer(**body: object) -> None:
        got = handler(event(**body), Context())
        assert got["statusCode"] == 200, got["body"]
        spent[0] = got["headers"]["Server-Timing"]

    seen: list[str] = []

    def new(count: int) -> None:
        seen[:] = unseen(words, count)
        answer(image_data=image, labels=seen)

    def singles(count: int) -> None:
        for _ in range(count):
            answer(image_data=image, labels=LABELS)

    def outside(_: object) -> float:
        """Milliseconds of a cached call that no encoder takes."""
        began = time.perf_counter()
        answer(image_data=image, labels=LABELS)
        stages = dict(part.split(";dur=") for part in spent[0].split(", "))
        return (time.perf_counter() - began) * 1000 - float(stages["image"])

    return {
        "cached": lambda count: answer(image_data=image, labels=LABELS[:count]),
        "new": new,
        "again": lambda _: answer(image_data=image, labels=seen),
        "batch": lambda count: answer(images=[image] * count, labels=LABELS),
        "singles": singles,
        "outside": outside,
        "image": lambda _: encoders.encode_images([pixels]),
    }


def original(data: bytes) -> Operations:
    import torch

    from dev.benchmark.baseline import Handler

    torch.set_num_threads(os.cpu_count() or 1)
    handler = Handler(FP32, CHECKPOINT)
    image = base64.b64encode(data).decode()
    asked = {count: event(image_data=image, labels=LABELS[:count]) for count in COUNTS}
    return {
        "twice": lambda count: handler(asked[count], None),
        "once": lambda count: handler(asked[count], None, passes=1),
    }


def open_clip_once(data: bytes) -> Operations:
    import open_clip
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    model = open_clip.create_model(MODEL).eval()
    tokenizer = open_clip.get_tokenizer(MODEL)
    pixels = torch.zeros(1, 3, 224, 224)
    ids = tokenizer(LABELS)

    def encode(side: str) -> None:
        with torch.inference_mode():
            if side != "text":
                model.encode_image(pixels, normalize=True)
            if side != "image":
                model.encode_text(ids, normalize=True)

    return {"encode": encode}


def limits(data: bytes) -> Operations:
    """One large product, in fp32 and in 8 bits."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    runs = {}
    for name, kind, given, result, first, second in (
        ("fp32", "MatMul", TensorProto.FLOAT, TensorProto.FLOAT, np.float32, np.float32),
        ("int8", "MatMulInteger", TensorProto.UINT8, TensorProto.INT32, np.uint8, np.int8),
    ):
        weight = rng.integers(-63, 64, (2048, 2048)).astype(second)
        x = rng.integers(0, 256, (2048, 2048)).astype(first)
        nodes = [helper.make_node(kind, ["x", "w"], ["y"])]
        ends = (
            [helper.make_tensor_value_info("x", given, x.shape)],
            [helper.make_tensor_value_info("y", result, x.shape)],
        )
        graph = helper.make_graph(nodes, "product", *ends, [numpy_helper.from_array(weight, "w")])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = os.cpu_count() or 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10
        ).SerializeToString()
        session = onnxruntime.InferenceSession(model, options)
        runs[name] = lambda _, session=session, x=x: session.run(None, {"x": x})
    return dict(runs)


def images(data: bytes) -> Operations:
    """A 12-megapixel JPEG: decoded and resized, as served, and plainly. The thumbnail: in the
    decoder's process, and in this one.
    """
    from PIL import Image

    from classifier.contract.bundle import read_manifest
    from classifier.images.formats import inspect
    from classifier.images.opened_image import open_image
    from classifier.images.pixels import squares
    from classifier.images.squares import crop

    large = thumbnail(4000, 3000)
    settings = read_manifest(FP32, verify_hashes=False).image
    return {
        "served": lambda _: open_image(large).decode(settings),
        "plain": lambda _: crop(
            Image.open(io.BytesIO(large)).convert("RGB"), settings.size, Image.Resampling.BICUBIC
        ),
        "apart": lambda _: open_image(data).decode(settings),
        "here": lambda _: squares(inspect(data), settings.size, settings.interpolation, "crop"),
    }
