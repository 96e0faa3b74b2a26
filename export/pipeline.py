"""Makes a bundle: loads weights, writes encoders, verifies them, puts the folder in place."""

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from PIL import Image

from classifier.contract.bundle import (
    FILES,
    FORMAT,
    MANIFEST,
    TOKENIZER,
    BundleManifest,
    File,
    ImageSettings,
    TextSettings,
    sha256,
)
from classifier.model.encoders import Encoders
from export.graphs.towers import max_batch, write_encoder
from export.judging import check, material
from export.judging.ladder import Ladder
from export.output import check_output, swap
from export.progress import say
from export.sources import source
from export.sources.source import NeedsTorchError, Request, Source
from export.table.rows import languages_of

MADE_WITH = ("torch", "open_clip_torch", "onnx", "onnxruntime", "onnxscript")
MADE_WITH_NUMPY = ("numpy", "onnx", "onnxruntime")
CROPS = 120
# CLIP's tokenizer, the same for every model of the table: the demo bundle holds it.
DEMO = Path(__file__).parent.parent / "models" / "demo"
TORCH_SIZE = "5.6 GB with CUDA libraries, less from PyTorch's CPU index"


def export(
    model: str,
    pretrained: str,
    trained_with: str | dict[str, Any] | None,
    precision: str,
    output: Path,
    *,
    name: str | None,
    licence: str | None = None,
    revision: str | None = None,
    accepted: str | None = None,
    origin: str | None = None,
    pictures: Sequence[NDArray[Any] | Image.Image] | None = None,
    sentences: Sequence[str] | None = None,
    crops: int = CROPS,
    target: str = "arm64",
    with_torch: bool = False,
    language: str | None = None,
    tokenizer_revision: str | None = None,
    quick: bool = False,
) -> BundleManifest:
    """Loads, exports, verifies, and only then puts the bundle in place; on failure nothing is left.

    `name` is the bundle's pretrained tag, `origin` what to say instead of a file name, `pictures`
    and `sentences` what decisions are judged on instead of photographs, `target` the processor that
    will serve, a key of LADDERS, `with_torch` the way through open_clip for models that don't need
    it, `language` and `tokenizer_revision` those of a tokenizer of the hub,
    `quick`: see Ladder. Raises ExportError.
    """
    output = output.expanduser().resolve()
    check_output(output)
    choices = (licence, revision, accepted, language, tokenizer_revision)
    say(f"loading {model} {pretrained}")
    loaded = _load(Request(model, pretrained, trained_with, *choices), with_torch)
    if origin:
        loaded = replace(loaded, weights=loaded.weights.model_copy(update={"source": origin}))
    shown = (
        material.pictures(crops)
        if pictures is None
        else [
            picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
            for picture in pictures
        ]
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    try:
        say(
            "writing the encoders; they are then tried on images in fewer bits, which takes some"
            " minutes, and keep them if they decide as before"
        )
        inputs = {
            encoder: write_encoder(loaded, encoder, "fp32", folder) for encoder in ("image", "text")
        }
        settings = describe(loaded, name, folder)
        write_settings(folder, settings)
        settings = _judged(
            folder,
            settings,
            loaded,
            shown,
            list(sentences or material.sentences()),
            inputs,
            precision,
            target,
            quick=quick,
        )
        check.batch_invariance(folder, settings, shown, sentences or material.sentences())
        if (output / "README.md").exists():
            shutil.copy(output / "README.md", folder)
        folder.chmod(0o755)
        swap(folder, output)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return settings


def _load(request: Request, with_torch: bool) -> Source:
    try:
        if not with_torch:
            return source.load(request, say)
    except NeedsTorchError as err:
        if find_spec("torch") is None:
            raise NeedsTorchError(f"{err} It needs torch and open_clip, {TORCH_SIZE}.") from err
    from export.sources import torch_source  # takes seconds, and most models do without

    return torch_source.load(request, say)


def _judged(
    folder: Path,
    settings: BundleManifest,
    source: Source,
    pictures: list[Image.Image],
    sentences: list[str],
    inputs: dict[str, dict[str, str]],
    precision: str,
    target: str,
    *,
    quick: bool,
) -> BundleManifest:
    """Verifies fp32, then takes each encoder's fastest precision that holds."""
    encoders = Encoders.load(folder, threads=os.cpu_count() or 1)
    verify_fp32 = check.with_open_clip if source.model is not None else check.with_numpy
    reference, served, fidelity = verify_fp32(encoders, source, pictures, sentences)
    del encoders  # the fp32 sessions hold the weights once more

    def load() -> Encoders:
        write_settings(folder, settings)
        return Encoders.load(folder, threads=os.cpu_count() or 1)

    chosen, figures = Ladder(
        folder, source, settings.text, inputs, load, reference, served, target, quick
    ).take(precision)
    return write_settings(
        folder, settings.model_copy(update={"precision": chosen, "fidelity": fidelity | figures})
    )


def describe(source: Source, name: str | None, folder: Path) -> BundleManifest:
    """Of the fp32 encoders in the folder. Writes the tokenizer's tables too."""
    if source.tokenizer:
        source.tokenizer.write(folder)
        text = source.tokenizer.settings
    else:
        shutil.copy(DEMO / TOKENIZER, folder)
        text = TextSettings.model_validate(json.loads((DEMO / MANIFEST).read_text())["text"])
    tower = source.architecture.text
    lengths = {"context_length": tower.context_length, "dynamic_length": tower.own_length}
    return BundleManifest(
        format=FORMAT,
        model=source.name,
        pretrained=name,
        weights=source.weights,
        licence=source.licence,
        tokenizer=source.tokenizer.files if source.tokenizer else None,
        image=ImageSettings(
            size=source.image_size,
            interpolation=source.settings.get("interpolation") or "bicubic",
            resize_mode=source.settings.get("resize_mode") or "shortest",
            max_batch=max_batch(source, folder),
        ),
        text=text.model_copy(update=lengths),
        dimension=source.architecture.dimension,
        logit_scale=source.logit_scale,
        logit_bias=source.logit_bias,
        scoring="softmax" if source.logit_bias is None else "sigmoid",
        precision={"image": "fp32", "text": "fp32"},
        languages=[text.language] if text.language else languages_of(source.weights.source),
        fidelity={},
        files={},
        versions={name: version(name) for name in (MADE_WITH if source.model else MADE_WITH_NUMPY)},
    )


def write_settings(folder: Path, settings: BundleManifest) -> BundleManifest:
    files = {
        name: File(bytes=(folder / name).stat().st_size, sha256=sha256(folder / name))
        for name in FILES
    }
    complete = settings.model_copy(update={"files": files})
    text = json.dumps(complete.model_dump(), indent=2, ensure_ascii=False)
    (folder / "bundle.json").write_text(text + "\n", encoding="utf-8")
    return complete
