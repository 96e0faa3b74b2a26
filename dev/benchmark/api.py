"""Measures the handler on ViT-B/32 against the original method, and writes build/benchmark.json and
docs/benchmark.svg: `make benchmark`.

Both sides answer the same events in processes of their own, in turns, so that a slow minute of the
machine is one for both. The weights are random: speed depends on the precision alone, not on them.
Three bundles are measured: the one that `make model` would make for this machine of weights as hard
to quantise as trained ones, the fastest one, and fp32. An endpoint is measured with `make
benchmark-endpoint`.
"""

import base64
import functools
import io
import itertools
import json
import multiprocessing
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from dev.benchmark import charts
from dev.benchmark.ask import Context, event
from export.verify import PHOTOGRAPHS

FOLDER = Path("build/benchmark")
JSON = Path("build/benchmark.json")
SVG = Path("docs/benchmark.svg")
MODEL = "ViT-B-32-quickgelu"
TAG = "openai"
CHECKPOINT = FOLDER / "random.pt"
HOLDING = FOLDER / "holding"
FASTEST = FOLDER / "int8"
FP32 = FOLDER / "fp32"
ROUNDS = 6
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
WIDTH = 768
LAYERS = 12
TOKENS = 50
PATCHES = 49
PATCH = 3072
# Products of the image tower: patches, 11 layers of 12 d² a token with attention, the last layer
# for one token behind its attention.
IMAGE_GFLOP = 2e-9 * (
    PATCHES * PATCH * WIDTH
    + (LAYERS - 1) * TOKENS * 12 * WIDTH**2
    + TOKENS * 3 * WIDTH**2
    + 9 * WIDTH**2
    + LAYERS * 2 * TOKENS**2 * WIDTH
    + WIDTH * 512
)
Operations = dict[str, Callable[[Any], object]]


def say(text: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {text}", file=sys.stderr, flush=True)


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


def target() -> str:
    """This machine among the ladder's."""
    if platform.machine() in ("arm64", "aarch64"):
        return "arm64"
    return "x86_64-vnni" if any(flag.endswith("vnni") for flag in flags()) else "x86_64"


def make_models() -> None:
    """Bundles of one and the same random weights, made as any bundle is."""
    import torch

    from dev.weights import unfriendly
    from export.architecture import Architecture
    from export.pipeline import export
    from export.source import read_table

    FOLDER.mkdir(parents=True, exist_ok=True)
    weights = unfriendly(Architecture.model_validate(read_table()["architectures"][MODEL]))
    torch.save({name: torch.from_numpy(values) for name, values in weights.items()}, CHECKPOINT)
    for folder, precision in ((HOLDING, "auto"), (FASTEST, "int8"), (FP32, "fp32")):
        export(
            MODEL,
            str(CHECKPOINT),
            TAG,
            precision,
            folder,
            name="random",
            licence="none",
            target=target(),
        )


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


def pictures(data: bytes) -> Operations:
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


def worker(pipe: Connection, make: Callable[[bytes], Operations], data: bytes) -> None:
    operations = make(data)
    pipe.send([])
    while True:
        name, argument, times = pipe.recv()
        spent = []
        for _ in range(times):
            began = time.perf_counter()
            result = operations[name](argument)
            spent.append(
                result if isinstance(result, float) else (time.perf_counter() - began) * 1000
            )
        pipe.send(spent)


class Side:
    """A process of its own with what it can do."""

    def __init__(self, make: Callable[[bytes], Operations], data: bytes) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=worker, args=(theirs, make, data), daemon=True)
        self._process.start()
        theirs.close()
        self._pipe.recv()

    def __call__(self, name: str, argument: object, times: int) -> list[float]:
        self._pipe.send((name, argument, times))
        return list(self._pipe.recv())

    def end(self) -> None:
        self._process.terminate()
        self._process.join()


holding, fastest, fp32 = (functools.partial(ours, bundle) for bundle in (HOLDING, FASTEST, FP32))
# Figure: who measures it, the operation, its argument, runs a round.
CASES: dict[str, tuple[Callable[[bytes], Operations], str, object, int]] = {
    **{f"original_{n}_labels_ms": (original, "twice", n, 2) for n in COUNTS},
    **{f"original_without_duplicate_{n}_labels_ms": (original, "once", n, 2) for n in COUNTS},
    "open_clip_fp32_once_9_labels_ms": (open_clip_once, "encode", "both", 2),
    "open_clip_fp32_image_ms": (open_clip_once, "encode", "image", 5),
    **{f"cached_{n}_labels_ms": (holding, "cached", n, 12) for n in COUNTS},
    **{f"new_{n}_labels_ms": (holding, "new", n, 6) for n in COUNTS},
    **{
        f"{name}_{operation}_9_labels_ms": (side, operation, 9, 6)
        for name, side in (("int8", fastest), ("fp32", fp32))
        for operation in ("cached", "new")
    },
    "outside_encoders_ms": (holding, "outside", None, 12),
    **{
        f"image_{name}_ms": (side, "image", None, 12)
        for name, side in (("holding", holding), ("int8", fastest), ("fp32", fp32))
    },
    "new_1000_labels_ms": (holding, "new", 1000, 1),
    "again_1000_labels_ms": (holding, "again", None, 4),
    "images_32_in_one_call_ms": (holding, "batch", 32, 1),
    "images_32_single_calls_ms": (holding, "singles", 32, 1),
    "product_int8_ms": (limits, "int8", None, 8),
    "product_fp32_ms": (limits, "fp32", None, 3),
    "jpeg_12_megapixels_ms": (pictures, "served", None, 2),
    "jpeg_12_megapixels_plain_ms": (pictures, "plain", None, 2),
    "pixels_in_their_own_process_ms": (pictures, "apart", None, 30),
    "pixels_in_the_same_process_ms": (pictures, "here", None, 30),
}


def measure(rounds: int) -> dict[str, list[float]]:
    data = thumbnail()
    spent = {name: list[float]() for name in CASES}
    sides = {make: Side(make, data) for make in {case[0] for case in CASES.values()}}
    for make, name, argument, _ in CASES.values():
        sides[make](name, argument, 1)
    for round_ in range(rounds):
        say(f"round {round_ + 1} of {rounds}")
        for figure, (make, name, argument, times) in CASES.items():
            # The first run after another process' turn finds its caches gone; spinning threads have
            # gone to sleep.
            spent[figure] += sides[make](name, argument, times + (times > 1))[times > 1 :]
    for side in sides.values():
        side.end()
    return spent


def start(handler: str, **variables: str) -> float:
    """Seconds from the start of the process to its first answer, in AWS's runtime client against a
    runtime API of one event.
    """
    done = threading.Event()
    over = threading.Event()
    asked = json.dumps(
        event(image_data=base64.b64encode(thumbnail()).decode(), labels=LABELS)
    ).encode()

    class Api(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if answers:
                over.wait()  # there is no second event, and the process is about to be ended
                return
            self.send_response(200)
            later = str(int(time.time() * 1000) + 29_000)
            headers = {"Aws-Request-Id": "1", "Deadline-Ms": later, "Invoked-Function-Arn": "arn"}
            for name, value in headers.items():
                self.send_header(f"Lambda-Runtime-{name}", value)
            # The client crashes without it.
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(asked)))
            self.end_headers()
            self.wfile.write(asked)

        def do_POST(self) -> None:
            answers.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()
            done.set()

        def log_message(self, *args: object) -> None:
            pass

    answers: list[bytes] = []
    api = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=api.serve_forever, daemon=True).start()
    names = {
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.server_address[1]}",
        "CLIP_BUNDLE": str(HOLDING),
    }
    with tempfile.TemporaryFile("w+") as said:
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "awslambdaric", handler],
            env=os.environ | names | variables,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        while not done.wait(0.005) and process.poll() is None and time.perf_counter() - began < 60:
            pass
        seconds = time.perf_counter() - began
        process.kill()
        process.wait()
        said.seek(0)
        last_words = said.read()[-3000:]
    over.set()
    api.shutdown()
    api.server_close()
    if not answers or b'"statusCode": 200' not in answers[0]:
        raise RuntimeError(f"{handler} did not answer: {answers[:1]}\n{last_words}")
    return seconds


def probe_memory(pipe: Connection, calls: int) -> None:
    """Peak memory in MB after a third of the mixed calls and after all of them."""
    from classifier.main import build
    from classifier.start import begin

    handler = build(begin(HOLDING, os.cpu_count() or 1))
    words = itertools.count()
    sizes = [(440, 248), (440, 248), (440, 248), (1280, 720), (440, 248), (4000, 3000)]
    images = [base64.b64encode(thumbnail(*size)).decode() for size in sizes]
    for i in range(calls):
        labels = LABELS if i % 2 else unseen(words, 5 + i % 20)
        assert (
            handler(event(image_data=images[i % len(images)], labels=labels), Context())[
                "statusCode"
            ]
            == 200
        )
        if i + 1 in (calls // 3, calls):
            # Not getrusage: that counts what the parent held when it forked.
            status = Path("/proc/self/status").read_text()
            pipe.send(int(status.partition("VmHWM:")[2].split()[0]) / 1024)


def memory(calls: int) -> tuple[float, float]:
    spawn = multiprocessing.get_context("spawn")
    mine, theirs = spawn.Pipe()
    process = spawn.Process(target=probe_memory, args=(theirs, calls))
    process.start()
    theirs.close()
    figures = mine.recv(), mine.recv()
    process.join()
    return figures


def decode_fidelity() -> dict[str, float]:
    """How near the served pixels of large JPEGs come to plainly decoded ones, and the embeddings
    made of both in fp32.
    """
    import onnxruntime
    from PIL import Image

    from classifier.contract.bundle import read_manifest
    from classifier.images.opened_image import open_image
    from classifier.images.squares import crop

    settings = read_manifest(FP32, verify_hashes=False).image
    session = onnxruntime.InferenceSession(FP32 / "image.onnx")
    cosines = []
    differences = []
    for name in ("astronaut", "cat", "coffee", "rocket"):
        file = io.BytesIO()
        Image.open(PHOTOGRAPHS / "judging" / f"{name}.jpg").resize((4000, 3000)).save(
            file, "JPEG", quality=90
        )
        served = open_image(file.getvalue()).decode(settings).squares[0]
        plain = np.asarray(
            crop(Image.open(file).convert("RGB"), settings.size, Image.Resampling.BICUBIC)[0]
        )
        one, two = (session.run(None, {"pixels": pixels[None]})[0][0] for pixels in (served, plain))
        cosines.append(float(one @ two))
        differences.append(float(np.abs(served.astype(float) - plain).mean()))
    return {
        "jpeg_12_megapixels_least_cosine": min(cosines),
        "jpeg_12_megapixels_mean_pixel_difference": max(differences),
    }


def figures(rounds: int, calls: int) -> dict[str, float | str]:
    """All of them, by name with its unit: medians, and quartiles beside the ones that vary."""
    spent = measure(rounds)
    found = dict[str, float | str]()
    for name, values in spent.items():
        found[name] = round(float(np.median(values)), 2)
        for part, share in (("quartile_1", 0.25), ("quartile_3", 0.75)):
            found[name.removesuffix("_ms") + f"_{part}_ms"] = round(
                float(np.quantile(values, share)), 2
            )

    def ratio(one: str, other: str) -> float:
        return round(float(found[one]) / float(found[other]), 2)

    for count in COUNTS:
        found[f"cached_{count}_labels_times_faster"] = ratio(
            f"original_{count}_labels_ms", f"cached_{count}_labels_ms"
        )
        found[f"new_{count}_labels_times_faster"] = ratio(
            f"original_{count}_labels_ms", f"new_{count}_labels_ms"
        )
    for name in ("int8", "fp32"):
        for operation in ("cached", "new"):
            figure = f"{name}_{operation}_9_labels"
            found[f"{figure}_times_faster"] = ratio("original_9_labels_ms", f"{figure}_ms")
    for name in ("holding", "int8", "fp32"):
        found[f"image_{name}_times_faster_than_open_clip"] = ratio(
            "open_clip_fp32_image_ms", f"image_{name}_ms"
        )
    found["images_32_to_single_calls_ratio"] = ratio(
        "images_32_in_one_call_ms", "images_32_single_calls_ms"
    )
    found["again_1000_to_cached_9_labels_ratio"] = ratio(
        "again_1000_labels_ms", "cached_9_labels_ms"
    )
    found["jpeg_12_megapixels_times_faster"] = ratio(
        "jpeg_12_megapixels_plain_ms", "jpeg_12_megapixels_ms"
    )
    for kind in ("int8", "fp32"):
        found[f"product_{kind}_gflops"] = round(
            2e-9 * 2048**3 / (float(found[f"product_{kind}_ms"]) / 1000), 1
        )
        found[f"image_{kind}_gflops"] = round(
            IMAGE_GFLOP / (float(found[f"image_{kind}_ms"]) / 1000), 1
        )
        found[f"image_{kind}_share_of_product_percent"] = round(
            100 * ratio(f"image_{kind}_gflops", f"product_{kind}_gflops"), 1
        )
    say("starting both sides, in turns")
    starts = [
        (
            start("classifier.main.handler"),
            start("dev.benchmark.baseline.handler", BENCHMARK_CHECKPOINT=str(CHECKPOINT)),
        )
        for _ in range(rounds + 1)
    ][1:]
    found["start_to_first_answer_s"], found["original_start_to_first_answer_s"] = (
        round(float(np.median(one)), 3) for one in zip(*starts, strict=True)
    )
    found["start_times_faster"] = ratio(
        "original_start_to_first_answer_s", "start_to_first_answer_s"
    )
    say(f"memory over {calls} mixed calls")
    early, late = memory(calls)
    found["peak_memory_after_a_third_of_calls_mb"] = round(early)
    found["peak_memory_mb"] = round(late)
    return found | {name: round(value, 5) for name, value in decode_fidelity().items()}


def cpu_lines(*keys: str) -> list[str]:
    """What /proc/cpuinfo says of the first processor under these keys."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return [
        line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() in keys
    ][:1]


def flags() -> list[str]:
    known = {"avx2", "avx_vnni", "avx512_vnni", "amx_int8", "asimddp"}
    return [
        flag for line in cpu_lines("flags", "Features") for flag in line.split() if flag in known
    ]


def machine() -> str:
    name = (cpu_lines("model name") or ["unknown"])[0]
    return f"{os.cpu_count()} cores, {name}, {' '.join(flags())}, {datetime.now(UTC):%d %B %Y}"


def main() -> None:
    say("making the models")
    make_models()
    from classifier.contract.bundle import read_manifest

    precision = read_manifest(HOLDING, verify_hashes=False).precision
    found = {
        "machine": machine(),
        "rounds": ROUNDS,
        "image_precision": precision["image"],
        "text_precision": precision["text"],
        **figures(ROUNDS, 1000),
    }
    JSON.write_text(json.dumps(found, indent=2) + "\n")
    charts.save(charts.comparison(found), SVG)
    print(json.dumps(found, indent=2))
    say(f"written: {JSON}, {SVG}")


if __name__ == "__main__":
    main()
