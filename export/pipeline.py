"""Makes a bundle: loads the weights, writes the encoders, verifies them against open_clip, puts the folder in place."""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import open_clip
import tokenizers
from numpy.typing import NDArray
from PIL import Image

from classifier.bundle import FILES, FORMAT, BundleManifest, File, ImageSettings, TextSettings
from classifier.encoders import Encoders
from export import verify
from export.source import Source, load, sha256
from export.towers import max_batch, write_encoder

MADE_WITH = ("torch", "open_clip_torch", "onnx", "onnxruntime", "onnxscript")
CROPS, CALIBRATING = 100, 64


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def export(
    model: str,
    pretrained: str,
    trained_with: str | dict[str, Any] | None,
    precision: str,
    output: Path,
    *,
    name: str | None,
    licence: str | None = None,
    origin: str | None = None,
    pictures: Sequence[NDArray[Any]] | None = None,
    sentences: Sequence[str] | None = None,
    crops: int = CROPS,
) -> BundleManifest:
    """Loads, exports, verifies, and only then puts the bundle in place; on failure nothing is left.

    `name` is the bundle's pretrained tag, `origin` what to say instead of a file name, `pictures` and `sentences` what decisions
    are judged on instead of photographs. Raises ExportError.
    """
    say(f"loading {model} {pretrained}")
    source = load(model, pretrained, trained_with, licence)
    if origin:
        source = Source(source.model, source.settings, source.weights.model_copy(update={"source": origin}), source.licence)
    shown = verify.crops(crops) if pictures is None else [Image.fromarray(one) for one in pictures]
    output.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    try:
        say("writing the encoders")
        for encoder in ("image", "text"):
            write_encoder(source, encoder, "fp32", folder)
        _write_tokenizer(model, folder)
        settings = _settings(model, name, source)
        _write_settings(folder, settings)
        reference = verify.Reference.make(source, model, shown, list(sentences or verify.sentences()), say)
        settings = _judged(folder, settings, source, reference, precision)
        encoders = Encoders.load(folder, threads=os.cpu_count() or 1, verify_hashes=True)
        verify.check_batch_invariance(encoders, reference.sentences[:8], reference.pixels[:9])
        for kept in [path for path in (output / "README.md",) if path.exists()]:
            shutil.copy(kept, folder)
        folder.chmod(0o755)
        shutil.rmtree(output, ignore_errors=True)
        folder.rename(output)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return settings


def _judged(
    folder: Path, settings: BundleManifest, source: Source, reference: verify.Reference, precision: str
) -> BundleManifest:
    """Verifies fp32, then takes 8 bits encoder by encoder where asked for and where decisions hold."""
    encoders = Encoders.load(folder, threads=os.cpu_count() or 1)
    current = verify.Served.make(encoders, reference)
    say("verifying pixels, tokens and embeddings against open_clip")
    fidelity: dict[str, float | int | str] = {
        "pictures_with_equal_pixels": verify.check_pixels(encoders, reference),
        **verify.check_tokens(encoders, settings.model),
        **verify.check_fp32(current, reference),
    }
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


def _settings(model: str, name: str | None, source: Source) -> BundleManifest:
    network, tokenizer = source.model, open_clip.get_tokenizer(model)
    size = network.visual.image_size
    return BundleManifest(
        format=FORMAT,
        model=model,
        pretrained=name,
        weights=source.weights,
        licence=source.licence,
        image=ImageSettings(
            size=size[0] if isinstance(size, tuple) else size,
            interpolation=source.settings.get("interpolation") or "bicubic",
            resize_mode=source.settings.get("resize_mode") or "shortest",
            max_batch=max_batch(network.visual),
        ),
        text=TextSettings(
            cleaning="lower",
            pattern=tokenizer.pat.pattern,
            special_tokens=["<start_of_text>", "<end_of_text>"],
            context_length=tokenizer.context_length,
            start_id=tokenizer.sot_token_id,
            end_id=tokenizer.eot_token_id,
            pad_id=0,
            dynamic_length=True,
        ),
        dimension=network.visual.output_dim,
        logit_scale=float(network.logit_scale.detach().exp()),
        logit_bias=None,
        scoring="softmax",
        precision={"image": "fp32", "text": "fp32"},
        fidelity={},
        files={},
        versions={package: version(package) for package in MADE_WITH},
    )


def _write_settings(folder: Path, settings: BundleManifest) -> BundleManifest:
    files = {name: File(bytes=(folder / name).stat().st_size, sha256=sha256(folder / name)) for name in FILES}
    complete = settings.model_copy(update={"files": files})
    text = json.dumps(complete.model_dump(), indent=2, ensure_ascii=False)
    (folder / "bundle.json").write_text(text + "\n", encoding="utf-8")
    return complete


def _write_tokenizer(model: str, folder: Path) -> None:
    """open_clip's BPE in the form of the tokenizers library; cleaning and splitting are the run time's."""
    theirs = open_clip.get_tokenizer(model)
    merges = sorted(theirs.bpe_ranks, key=theirs.bpe_ranks.__getitem__)
    mine = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=theirs.encoder, merges=merges, end_of_word_suffix="</w>"))
    mine.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    mine.save(str(folder / "tokenizer.json"), pretty=False)
