"""Makes a bundle: python -m export --model ViT-B-32-quickgelu --pretrained openai."""

import argparse
import sys
from pathlib import Path

from export.errors import ExportError
from export.pipeline import CROPS, export
from export.progress import say
from export.source import NeedsTorchError

# The exit status that tells `make model` to build the environment with torch and try again.
NEEDS_TORCH = 3


def main() -> None:
    parser = argparse.ArgumentParser(prog="export", description="Makes a bundle from an open_clip model.")
    parser.add_argument("--model", required=True, help="a model of open_clip, such as ViT-B-32-quickgelu")
    parser.add_argument("--pretrained", required=True, help="a tag of open_clip, such as openai, or a checkpoint file")
    parser.add_argument("--pretrained-cfg", help="for a file: the tag, or the settings as JSON, that it was trained with")
    parser.add_argument("--precision", choices=["auto", "int8", "fp32"], default="auto")
    parser.add_argument("--revision", help="the hub's commit, branch or tag to take the weights from; default main")
    parser.add_argument("--licence", help="the licence of the weights, where the hub doesn't say")
    parser.add_argument("--accept-licence", help="a licence that limits the use of the weights, and that you accept")
    parser.add_argument("--output", type=Path, help="the bundle's folder; default models/MODEL-PRETRAINED")
    parser.add_argument("--crops", type=int, default=CROPS, help="photograph crops to verify on")
    parser.add_argument("--with-torch", action="store_true", help="through open_clip, and verified against it, for any model")
    arguments = parser.parse_args()
    file = Path(arguments.pretrained).expanduser()
    name = file.stem if file.is_file() else arguments.pretrained
    output = arguments.output or Path("models") / f"{arguments.model}-{name}".replace("/", "-")
    try:
        manifest = export(
            arguments.model, arguments.pretrained, arguments.pretrained_cfg, arguments.precision, output, name=name,
            licence=arguments.licence, revision=arguments.revision, accepted=arguments.accept_licence, crops=arguments.crops,
            with_torch=arguments.with_torch,
        )  # fmt: skip
    except NeedsTorchError as err:
        say(str(err))
        sys.exit(NEEDS_TORCH)
    except ExportError as err:
        sys.exit(f"error: {err}")
    size = sum(part.bytes for part in manifest.files.values()) / 1e6
    precision = manifest.precision
    say(f"{output}: {manifest.name}, image encoder {precision['image']}, text encoder {precision['text']}, {size:.0f} MB")
    say(f"Next, real answers about real photographs: make demo BUNDLE={output}")


if __name__ == "__main__":
    main()
