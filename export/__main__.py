"""Makes a bundle: python -m export --model ViT-B-32-quickgelu --pretrained openai."""

import argparse
import sys
from pathlib import Path

from export.pipeline import CROPS, export, say
from export.source import ExportError


def main() -> None:
    parser = argparse.ArgumentParser(prog="export", description="Makes a bundle from an open_clip model.")
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
