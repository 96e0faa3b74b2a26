"""The bundle, which is the one contract between export and run time, and its two encoders."""

import hashlib
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

FORMAT = 2
FILES = ("image.onnx", "text.onnx", "tokenizer.json")
Precision = Literal["fp32", "int8"]
# What a core takes at once: the weights are then read once for many prompts, and what is between still fits its cache.
PROMPTS_A_RUN = 16


class BundleError(Exception):
    """A bundle that can't be served; the message names the file and what to run."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Weights(_Part):
    """Where the weights came from."""

    source: str
    revision: str | None
    sha256: str


class ImageSettings(_Part):
    """How pixels are prepared. Scaling, mean and standard deviation are inside image.onnx. `at_once`: how many images are best given
    to one run; more than 1 only where company changes no bit of an embedding."""

    size: int
    interpolation: Literal["bicubic", "bilinear"]
    resize_mode: Literal["shortest", "squash"]
    at_once: PositiveInt


class TextSettings(_Part):
    """How text becomes ids. `pattern` splits the cleaned text before BPE; `shortens`: the text encoder takes any length up to
    `context_length`, because what follows the end token cannot matter."""

    cleaning: Literal["lower"]
    pattern: str
    special_tokens: list[str]
    context_length: int
    start_id: int
    end_id: int
    pad_id: int
    shortens: bool


class File(_Part):
    bytes: int
    sha256: str


class Format(BaseModel):
    format: int


class Settings(Format, _Part):
    """bundle.json."""

    model: str
    pretrained: str | None
    weights: Weights
    licence: str
    image: ImageSettings
    text: TextSettings
    dimension: int
    logit_scale: float
    logit_bias: float | None
    scoring: Literal["softmax", "sigmoid"]
    precision: dict[Literal["image", "text"], Precision]
    fidelity: dict[str, float | int | str]
    files: dict[str, File]
    versions: dict[str, str]

    @property
    def name(self) -> str:
        """The model and its pretrained tag, as answers carry it."""
        return f"{self.model}/{self.pretrained}" if self.pretrained else self.model


def read_settings(folder: Path, *, hashes: bool) -> Settings:
    """The checked settings of a bundle.

    Format, presence and sizes are always checked; the files' sha256 only with `hashes`, since reading them all costs start-up.
    Raises BundleError.
    """
    again = "make the bundle again with: make model MODEL=… PRETRAINED=…"
    path = folder / "bundle.json"
    try:
        text = path.read_bytes()
        found = Format.model_validate_json(text).format
        if found != FORMAT:
            raise BundleError(f"{path} has format {found}, this program reads {FORMAT}; {again}")
        settings = Settings.model_validate_json(text)
    except FileNotFoundError as err:
        raise BundleError(f"{path} is missing; {again}") from err
    except ValidationError as err:
        raise BundleError(f"{path} can't be read as format {FORMAT} ({err.errors()[0]['loc']}); {again}") from err
    for name in FILES:
        file, expected = folder / name, settings.files.get(name)
        if expected is None or not file.is_file():
            raise BundleError(f"{file} is missing; {again}")
        if file.stat().st_size != expected.bytes:
            raise BundleError(f"{file} has {file.stat().st_size} bytes instead of {expected.bytes}; {again}")
        if hashes and hashlib.sha256(file.read_bytes()).hexdigest() != expected.sha256:
            raise BundleError(f"{file} is not the file that {path.name} describes (sha256 differs); {again}")
    return settings


@dataclass(frozen=True)
class Clip:
    """The two encoders. An embedding depends on its own input alone, to the last bit, whatever shares its run."""

    folder: Path
    settings: Settings
    _image: ort.InferenceSession
    _text: ort.InferenceSession
    _workers: ThreadPoolExecutor
    _threads: int

    @classmethod
    def load(cls, folder: Path, *, threads: int, hashes: bool = False) -> "Clip":
        """Loads both encoders side by side and runs each once. Raises BundleError."""
        settings = read_settings(folder, hashes=hashes)
        workers = ThreadPoolExecutor(threads)
        # Prompts are too small to share out over cores: text takes a core a run, images take all.
        with ThreadPoolExecutor(2) as loaders:
            image = loaders.submit(_session, folder / "image.onnx", threads)
            text = loaders.submit(_session, folder / "text.onnx", 1)
            clip = cls(folder, settings, image.result(), text.result(), workers, threads)
            warm = loaders.submit(clip.encode_images, [np.zeros((settings.image.size, settings.image.size, 3), np.uint8)])
            clip.encode_text([[settings.text.start_id, settings.text.end_id]])
            warm.result()
        return clip

    def encode_images(self, squares: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """The pixels [S, S, 3] of each to normalised embeddings [d]."""
        most = self.settings.image.at_once
        runs = (np.stack(squares[at : at + most]) for at in range(0, len(squares), most))
        return [row for run in runs for row in self._image.run(None, {"pixels": run})[0]]

    def encode_text(self, prompts: list[list[int]]) -> list[NDArray[np.float32]]:
        """The ids of each prompt, start and end token included, to normalised embeddings [d].

        Prompts of one length share a run: the text encoder works row by row, so that company changes no bit of a row.
        """
        text, by_length = self.settings.text, dict[int, list[int]]()
        padded = [ids if text.shortens else ids + [text.pad_id] * (text.context_length - len(ids)) for ids in prompts]
        for i, ids in enumerate(padded):
            by_length.setdefault(len(ids), []).append(i)
        most = min(PROMPTS_A_RUN, math.ceil(len(prompts) / self._threads))
        runs = [same[at : at + most] for same in by_length.values() for at in range(0, len(same), most)]
        found = self._workers.map(
            lambda run: self._text.run(None, {"ids": np.array([padded[i] for i in run], np.int64)})[0], runs
        )
        embeddings = {i: row for run, rows in zip(runs, found, strict=True) for i, row in zip(run, rows, strict=True)}
        return [embeddings[i] for i in range(len(prompts))]


def _session(path: Path, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads wait busily between operators, but between runs they would take a core from what runs next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as err:
        raise BundleError(f"{path} can't be loaded; make the bundle again with: make model MODEL=… PRETRAINED=…") from err
