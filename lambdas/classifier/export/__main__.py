"""Makes a bundle: python -m classifier.export --model ViT-B-32-quickgelu --pretrained openai."""

import argparse
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

from classifier.clip import FILES, FORMAT, Clip, File, ImageSettings, Settings, TextSettings
from classifier.export import verify
from classifier.export.encoders import images_at_once, write_encoder
from classifier.export.source import ExportError, Source, load, sha256

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
) -> Settings:
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
        clip = Clip.load(folder, threads=os.cpu_count() or 1, hashes=True)
        verify.check_alone(clip, reference.sentences[:8], reference.pixels[:9])
        for kept in [path for path in (output / "README.md",) if path.exists()]:
            shutil.copy(kept, folder)
        folder.chmod(0o755)
        shutil.rmtree(output, ignore_errors=True)
        folder.rename(output)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return settings


def _judged(folder: Path, settings: Settings, source: Source, reference: verify.Reference, precision: str) -> Settings:
    """Verifies fp32, then takes 8 bits encoder by encoder where asked for and where decisions hold."""
    clip = Clip.load(folder, threads=os.cpu_count() or 1)
    current = verify.Served.make(clip, reference)
    say("verifying pixels, tokens and embeddings against open_clip")
    fidelity: dict[str, float | int | str] = {
        "pictures_with_equal_pixels": verify.check_pixels(clip, reference),
        **verify.check_tokens(clip, settings.model),
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
        tried = verify.Served.make(Clip.load(folder, threads=os.cpu_count() or 1), reference)
        figures = verify.decisions(tried, reference)
        said = f"{encoder} encoder in 8 bits: best label equal in {figures[0]:.2%}, 99th percentile of change {figures[1]:.4f}"
        takes = precision == "int8" or verify.holds(figures)
        say(f"{said}: {'taken' if takes else 'fp32 is kept'}{'' if verify.holds(figures) else ' (the bound is missed)'}")
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


def _settings(model: str, name: str | None, source: Source) -> Settings:
    network, tokenizer = source.model, open_clip.get_tokenizer(model)
    size = network.visual.image_size
    return Settings(
        format=FORMAT,
        model=model,
        pretrained=name,
        weights=source.weights,
        licence=source.licence,
        image=ImageSettings(
            size=size[0] if isinstance(size, tuple) else size,
            interpolation=source.settings.get("interpolation") or "bicubic",
            resize_mode=source.settings.get("resize_mode") or "shortest",
            at_once=images_at_once(network.visual),
        ),
        text=TextSettings(
            cleaning="lower",
            pattern=tokenizer.pat.pattern,
            special_tokens=["<start_of_text>", "<end_of_text>"],
            context_length=tokenizer.context_length,
            start_id=tokenizer.sot_token_id,
            end_id=tokenizer.eot_token_id,
            pad_id=0,
            shortens=True,
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


def _write_settings(folder: Path, settings: Settings) -> Settings:
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


def main() -> None:
    parser = argparse.ArgumentParser(prog="classifier.export", description="Makes a bundle from an open_clip model.")
    parser.add_argument("--model", required=True, help="a model of open_clip, such as ViT-B-32-quickgelu")
    parser.add_argument("--pretrained", required=True, help="a tag of open_clip, such as openai, or a checkpoint file")
    parser.add_argument("--pretrained-cfg", help="for a file: the tag, or the settings as JSON, that it was trained with")
    parser.add_argument("--precision", choices=["auto", "int8", "fp32"], default="auto")
    parser.add_argument("--licence", help="the licence of the weights, where the hub doesn't say")
    parser.add_argument("--output", type=Path, help="the bundle's folder; default models/MODEL-PRETRAINED")
    parser.add_argument("--crops", type=int, default=CROPS, help="photograph crops to verify on")
    asked = parser.parse_args()
    name = Path(asked.pretrained).stem if Path(asked.pretrained).is_file() else asked.pretrained
    output = asked.output or Path("models") / f"{asked.model}-{name}".replace("/", "-")
    try:
        made = export(asked.model, asked.pretrained, asked.pretrained_cfg, asked.precision, output, name=name, licence=asked.licence,
                      crops=asked.crops)  # fmt: skip
    except ExportError as err:
        sys.exit(f"error: {err}")
    weight = sum(file.bytes for file in made.files.values()) / 1e6
    say(f"{output}: {made.name}, image encoder {made.precision['image']}, text encoder {made.precision['text']}, {weight:.0f} MB")


if __name__ == "__main__":
    main()
