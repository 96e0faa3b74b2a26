"""The bundle: the one contract between export, deployment and run time. Needs the standard library
and pydantic alone.
"""

import hashlib
import json
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

FORMAT = 5
MANIFEST = "bundle.json"
TOKENIZER = "tokenizer.safetensors"
# The weights lie next to the graphs, so that a session maps them instead of copying them.
FILES = ("image.onnx", "image.weights", "text.onnx", "text.weights", TOKENIZER)
Precision = Literal[
    "fp32", "int8", "int8-full", "int8-rows", "int8-rows-full", "int14", "int14-both", "mixed"
]


class BundleError(Exception):
    """A bundle that can't be used; the message names the file and what to run."""


def remedy(folder: Path) -> str:
    """The command that makes a bundle again, with the names in its bundle.json, of whatever format.

    In ASCII alone: Lambda's runtime fails to report a start that failed with another character in
    its message.
    """
    names: object = None
    with suppress(OSError, ValueError, RecursionError):
        names = json.loads((folder / MANIFEST).read_bytes())
    model = tag = "..."
    if isinstance(names, dict) and names.get("model") and names.get("pretrained"):
        model, tag = str(names["model"]), str(names["pretrained"])
    command = f"make model MODEL={shlex.quote(model)} PRETRAINED={shlex.quote(tag)}"
    return f"make the bundle again with: {command.encode('ascii', 'backslashreplace').decode()}"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Weights(_Part):
    """Where the weights came from."""

    source: str
    revision: str | None
    sha256: str


class TokenizerFiles(_Part):
    """The repository of the hub that a tokenizer came from. `sha256`: of its files, by name."""

    source: str
    revision: str
    licence: str
    sha256: dict[str, str]


class ImageSettings(_Part):
    """How to prepare pixels. Scaling, mean and standard deviation are inside image.onnx.

    `max_batch`: the most images in one run; more than 1 only if a batch changes no bit of an
    embedding.
    """

    size: int
    interpolation: Literal["bicubic", "bilinear"]
    resize_mode: Literal["shortest", "squash"]
    max_batch: PositiveInt


class TextSettings(_Part):
    """How to turn text into token ids. The fields stand in the order in which they are used.

    `cleaning`: by open_clip's names. Of the cleaned text `special_tokens` are refused, and
    `added_tokens` are taken out with their ids. The rest is normalized: what the pattern `charsmap`
    finds is looked up in a table, and `replacements` are patterns with what each becomes. Of that
    `normalized_tokens` are taken out, `pattern` finds the words, and each word is split into pieces
    by the table, in the way that `kind` names. `unknown_id` stands for what has no piece.

    `start_ids`, `end_ids`: what stands around the text's ids; for some models the `language` of the
    texts is one of them. `dynamic_length`: the text encoder takes any length up to
    `context_length`, since nothing after the end matters; otherwise texts are filled with `pad_id`.
    """

    cleaning: Literal["lower", "whitespace", "canonicalize"]
    special_tokens: list[str]
    added_tokens: dict[str, int]
    charsmap: str | None
    replacements: list[tuple[str, str]]
    normalized_tokens: dict[str, int]
    pattern: str
    kind: Literal["byte-bpe", "bpe", "unigram", "wordpiece"]
    unknown_id: int | None
    start_ids: list[int]
    end_ids: list[int]
    language: str | None
    context_length: int
    pad_id: int
    dynamic_length: bool

    def padded(self, ids: list[int]) -> list[int]:
        """The ids as the text encoder takes them."""
        missing = 0 if self.dynamic_length else self.context_length - len(ids)
        return ids + [self.pad_id] * missing


class File(_Part):
    bytes: int
    sha256: str


class _Version(BaseModel):
    format: int


class BundleManifest(_Version, _Part):
    """bundle.json. `tokenizer` is None for CLIP's own, which open_clip brings along; `languages`
    are None if the model's authors don't publish results for them."""

    model: str
    pretrained: str | None
    weights: Weights
    licence: str
    tokenizer: TokenizerFiles | None
    image: ImageSettings
    text: TextSettings
    dimension: int
    logit_scale: float
    logit_bias: float | None
    scoring: Literal["softmax", "sigmoid"]
    precision: dict[Literal["image", "text"], Precision]
    languages: list[str] | None
    fidelity: dict[str, float | int | str]
    files: dict[str, File]
    versions: dict[str, str]

    @property
    def name(self) -> str:
        """The model and its pretrained tag, as answers carry it."""
        return f"{self.model}/{self.pretrained}" if self.pretrained else self.model

    @property
    def fingerprint(self) -> str:
        """The hexadecimal sha256 of the files' sha256, a line each: all that embeddings need."""
        return hashlib.sha256(
            "".join(f"{self.files[name].sha256}\n" for name in FILES).encode()
        ).hexdigest()


def read_manifest(folder: Path, *, verify_hashes: bool) -> BundleManifest:
    """Reads bundle.json and checks the bundle's other files.

    Format, presence and sizes are always checked; sha256 only with `verify_hashes`, since reading
    every file slows a cold start. Raises BundleError.
    """
    path = folder / MANIFEST
    try:
        text = path.read_bytes()
        version = _Version.model_validate_json(text).format
        if version != FORMAT:
            raise BundleError(
                f"{path} has format {version}, this program reads {FORMAT}; {remedy(folder)}"
            )
        manifest = BundleManifest.model_validate_json(text)
    except FileNotFoundError as err:
        raise BundleError(f"{path} is missing; {remedy(folder)}") from err
    except OSError as err:
        raise BundleError(f"{path} can't be read ({err.strerror}); name a bundle's folder") from err
    except ValidationError as err:
        raise BundleError(
            f"{path} can't be read as format {FORMAT} ({err.errors()[0]['loc']}); {remedy(folder)}"
        ) from err
    for name in FILES:
        file = folder / name
        expected = manifest.files.get(name)
        if expected is None or not file.is_file():
            raise BundleError(f"{file} is missing; {remedy(folder)}")
        if file.stat().st_size != expected.bytes:
            raise BundleError(
                f"{file} has {file.stat().st_size} bytes instead of {expected.bytes};"
                f" {remedy(folder)}"
            )
        if verify_hashes and sha256(file) != expected.sha256:
            raise BundleError(
                f"{file} is not the file that {MANIFEST} describes (sha256 differs);"
                f" {remedy(folder)}"
            )
    return manifest


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
