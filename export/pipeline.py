"""Makes a bundle: loads the weights, writes the encoders, verifies them, puts the folder in place."""

import io
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

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from classifier.bundle import FILES, FORMAT, MANIFEST, BundleManifest, File, ImageSettings, TextSettings, sha256
from classifier.encoders import Encoders
from classifier.image import open_image
from classifier.tokenizer import Tokenizer
from export import forward, source, verify
from export.errors import ExportError
from export.progress import progress, say
from export.source import NeedsTorchError, Request, Source
from export.towers import max_batch, write_encoder

MADE_WITH = ("torch", "open_clip_torch", "onnx", "onnxruntime", "onnxscript")
MADE_WITH_NUMPY = ("numpy", "onnx", "onnxruntime")
CROPS, CALIBRATING = 100, 64
# How many pictures and texts the slow forward pass in numpy checks.
CHECKED_PICTURES, CHECKED_TEXTS = 4, 8
MIN_COSINE = 0.99999
# Any other file beside a bundle's own is the user's, and is never deleted.
REPLACEABLE = {*FILES, MANIFEST, "README.md"}
# CLIP's tokenizer, the same for every model of the table: the demo bundle holds it.
DEMO = Path(__file__).parent.parent / "models" / "demo"
TORCH_SIZE = "about 1.3 GB on the disk with PyTorch's CPU build, 5.6 GB with CUDA's libraries"


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
    pictures: Sequence[NDArray[Any]] | None = None,
    sentences: Sequence[str] | None = None,
    crops: int = CROPS,
    with_torch: bool = False,
) -> BundleManifest:
    """Loads, exports, verifies, and only then puts the bundle in place; on failure nothing is left.

    `name` is the bundle's pretrained tag, `origin` what to say instead of a file name, `pictures` and `sentences` what decisions
    are judged on instead of photographs, `with_torch` the way through open_clip for models that don't need it. Raises ExportError.
    """
    output = output.expanduser().resolve()
    check_output(output)
    request = Request(model, pretrained, trained_with, licence, revision, accepted)
    say(f"loading {model} {pretrained}")
    loaded = _load(request, with_torch)
    if origin:
        loaded = replace(loaded, weights=loaded.weights.model_copy(update={"source": origin}))
    shown = verify.crops(crops) if pictures is None else [Image.fromarray(picture) for picture in pictures]
    output.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    try:
        say("writing the encoders")
        for encoder in ("image", "text"):
            write_encoder(loaded, encoder, "fp32", folder)
        settings = _settings(loaded, name, folder)
        _write_settings(folder, settings)
        settings = _judged(folder, settings, loaded, shown, list(sentences or verify.sentences()), precision)
        _check_batch_invariance(folder, settings, shown, sentences or verify.sentences())
        if (output / "README.md").exists():
            shutil.copy(output / "README.md", folder)
        folder.chmod(0o755)
        _swap(folder, output)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return settings


def check_output(output: Path) -> None:
    """Raises ExportError for a folder that holds anything but a bundle: it would be replaced as a whole."""
    if output in (Path.cwd(), *Path.cwd().parents):
        raise ExportError(f"{output} is the current folder or above it; name the bundle's own folder, such as models/my-model.")
    if not output.exists():
        return
    others = [path.name for path in output.iterdir() if path.name not in REPLACEABLE] if output.is_dir() else [output.name]
    if others or (any(output.iterdir()) and not (output / MANIFEST).is_file()):
        raise ExportError(
            f"{output} is there and is not a bundle alone ({', '.join(others[:3]) or 'no bundle.json'}); "
            "name a folder that doesn't exist, or a bundle to replace."
        )


def _swap(folder: Path, output: Path) -> None:
    """Puts the folder in place by renaming: at any moment there is the old bundle or the new one."""
    old = folder.with_name(f"{folder.name}-old")
    replaces = output.exists()
    if replaces:
        output.rename(old)
    try:
        folder.rename(output)
    except OSError:
        if replaces:
            old.rename(output)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _load(request: Request, with_torch: bool) -> Source:
    try:
        if not with_torch:
            return source.load(request, say)
    except NeedsTorchError as err:
        if find_spec("torch") is None:
            raise NeedsTorchError(f"{err} It needs torch and open_clip, {TORCH_SIZE}.") from err
    from export import torch_source  # takes seconds, and most models do without

    return torch_source.load(request, say)


def _judged(
    folder: Path, settings: BundleManifest, source: Source, pictures: list[Image.Image], sentences: list[str], precision: str
) -> BundleManifest:
    """Verifies fp32, then quantises each encoder to int8 where asked for and where decisions hold."""
    encoders = Encoders.load(folder, threads=os.cpu_count() or 1)
    check = _check_with_open_clip if source.model is not None else _check_with_numpy
    reference, current, fidelity = check(encoders, source, pictures, sentences)
    del encoders  # the fp32 sessions hold the weights once more
    chosen: dict[str, str] = {"image": "fp32", "text": "fp32"}
    for encoder in ("image", "text") if precision != "fp32" else ():
        path, kept = folder / f"{encoder}.onnx", folder / f"{encoder}.fp32"
        path.rename(kept)
        write_encoder(
            source, encoder, "int8", folder, verify.crops(CALIBRATING, verify.CALIBRATION) if encoder == "image" else ()
        )
        _write_settings(folder, settings)
        tried = verify.Served.make(Encoders.load(folder, threads=os.cpu_count() or 1), reference)
        figures = verify.decisions(tried, reference)
        said = f"{encoder} encoder in 8 bits: best label equal in {figures[0]:.2%}, 99th percentile of change {figures[1]:.4f}"
        takes = precision == "int8" or verify.within_tolerance(figures)
        say(
            f"{said}: {'taken' if takes else 'fp32 is kept'}{'' if verify.within_tolerance(figures) else ' (the bound is missed)'}"
        )
        fidelity |= {
            f"{encoder}_int8_best_label_equal": figures[0],
            f"{encoder}_int8_change_99th_percentile": round(figures[1], 5),
        }
        if takes:
            chosen[encoder], current = "int8", tried
            kept.unlink()
        else:
            kept.replace(path)
    best, change = verify.decisions(current, reference)
    fidelity |= {"pairs": verify.PAIRS, "best_label_equal": best, "change_99th_percentile": round(change, 5)}
    say(f"as it serves: best label equal in {best:.2%} of {verify.PAIRS} pairs, 99th percentile of change {change:.4f}")
    return _write_settings(folder, settings.model_copy(update={"precision": chosen, "fidelity": fidelity}))


def _check_with_open_clip(
    encoders: Encoders, source: Source, pictures: list[Image.Image], sentences: list[str]
) -> tuple[verify.Reference, verify.Served, dict[str, float | int | str]]:
    import open_clip

    from export.reference import check_tokens, make_reference

    reference = make_reference(source, pictures, sentences)
    say("verifying pixels, tokens and embeddings against open_clip")
    served = verify.Served.make(encoders, reference)
    return reference, served, {
        "checked_against": f"open_clip {open_clip.__version__}",
        "pictures_with_equal_pixels": verify.check_pixels(encoders, reference),
        **check_tokens(encoders, source.name),
        **verify.check_fp32(served, reference),
    }  # fmt: skip


def _check_with_numpy(
    encoders: Encoders, source: Source, pictures: list[Image.Image], sentences: list[str]
) -> tuple[verify.Reference, verify.Served, dict[str, float | int | str]]:
    """The fp32 encoders against a forward pass in numpy; they then are the reference for int8.

    That pixels, tokens and graphs of this architecture equal open_clip's was tested with the exporter: tests/export/test_without_torch.py.
    """
    manifest = encoders.manifest
    tokenizer = Tokenizer(encoders.folder, manifest.text)
    say(f"encoding {len(pictures)} pictures and {len(sentences)} sentences")
    pixels = [_prepared(picture, manifest.image) for picture in pictures]
    ids = [tokenizer.encode(text) for text in sentences]
    images = [row for square in progress(pixels, "pictures") for row in encoders.encode_images([square])]
    texts = encoders.encode_text(ids)
    few, architecture, mean, std = (
        ids[:: max(1, len(ids) // CHECKED_TEXTS)],
        source.architecture,
        source.settings["mean"],
        source.settings["std"],
    )
    say("checking the encoders with a forward pass in numpy")
    expected_images = forward.embed_images(architecture, source.arrays, mean, std, np.stack(pixels[:CHECKED_PICTURES]))
    expected_texts = forward.embed_texts(architecture, source.arrays, few)
    got_texts = list(encoders.encode_text(few))
    cosines = {
        "fp32_least_image_cosine": float((np.stack(images[:CHECKED_PICTURES]) * expected_images).sum(1).min()),
        "fp32_least_text_cosine": float((np.stack(got_texts) * expected_texts).sum(1).min()),
    }
    if not min(cosines.values()) >= MIN_COSINE:
        raise ExportError(f"The exported graphs disagree with a forward pass in numpy: {cosines}.")
    served = verify.Served(np.stack(images), np.stack(texts))
    reference = verify.Reference(pictures, sentences, pixels, served.images, served.texts, manifest.logit_scale)
    return reference, served, {
        "checked_against": "a forward pass in numpy; this architecture against open_clip with random weights",
        "pictures_checked": min(CHECKED_PICTURES, len(pictures)),
        "texts_checked": len(few),
        **{key: round(value, 8) for key, value in cosines.items()},
    }  # fmt: skip


def _prepared(picture: Image.Image, settings: ImageSettings) -> verify.Pixels:
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=1)
    return open_image(file.getvalue()).pixels(settings)[0]


def _check_batch_invariance(
    folder: Path, settings: BundleManifest, pictures: Sequence[Image.Image], sentences: Sequence[str]
) -> None:
    encoders = Encoders.load(folder, threads=os.cpu_count() or 1, verify_hashes=True)
    verify.check_batch_invariance(encoders, list(sentences)[:8], [_prepared(picture, settings.image) for picture in pictures[:9]])


def _settings(source: Source, name: str | None, folder: Path) -> BundleManifest:
    """Writes the tokenizer too."""
    if source.model is not None:
        from export.reference import text_settings, write_tokenizer

        write_tokenizer(source.name, folder)
        text = text_settings(source.name)
    else:
        shutil.copy(DEMO / "tokenizer.json", folder)
        text = TextSettings.model_validate(json.loads((DEMO / MANIFEST).read_text())["text"])
        text = text.model_copy(update={"context_length": source.architecture.text.context_length})
    return BundleManifest(
        format=FORMAT,
        model=source.name,
        pretrained=name,
        weights=source.weights,
        licence=source.licence,
        image=ImageSettings(
            size=source.image_size,
            interpolation=source.settings.get("interpolation") or "bicubic",
            resize_mode=source.settings.get("resize_mode") or "shortest",
            max_batch=max_batch(source.architecture.image),
        ),
        text=text,
        dimension=source.architecture.dimension,
        logit_scale=source.logit_scale,
        logit_bias=None,
        scoring="softmax",
        precision={"image": "fp32", "text": "fp32"},
        fidelity={},
        files={},
        versions=_versions(source),
    )


def _write_settings(folder: Path, settings: BundleManifest) -> BundleManifest:
    files = {name: File(bytes=(folder / name).stat().st_size, sha256=sha256(folder / name)) for name in FILES}
    complete = settings.model_copy(update={"files": files})
    text = json.dumps(complete.model_dump(), indent=2, ensure_ascii=False)
    (folder / "bundle.json").write_text(text + "\n", encoding="utf-8")
    return complete


def _versions(source: Source) -> dict[str, str]:
    packages = MADE_WITH if source.model is not None else MADE_WITH_NUMPY
    return {package: version(package) for package in packages}
