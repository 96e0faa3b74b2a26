"""Makes a bundle: python -m export --model ViT-B-32-quickgelu --pretrained openai."""

import argparse
import json
import sys
from pathlib import Path

from export.errors import ExportError
from export.graphs.precisions import LADDERS, STEPS
from export.judging.material import read_images
from export.pipeline import CROPS, export
from export.progress import say
from export.sources.source import NeedsTorchError

# The exit status that tells `make model` to build the environment with torch and try again.
NEEDS_TORCH = 3
CDK = Path(__file__).parent.parent / "cdk.json"


def architecture() -> str:
    """The processor that cdk.json deploys to; its default is the stack's."""
    return str(json.loads(CDK.read_text())["context"].get("architecture", "arm64"))


def read_labels(text: str) -> list[str]:
    labels = list(dict.fromkeys(label.strip() for label in text.split(",") if label.strip()))
    if len(labels) < 2:
        raise ExportError(
            'LABELS names fewer than two labels; separate them by commas: LABELS="a dog,a cat".'
        )
    return labels


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="export", description="Makes a bundle from an open_clip model."
    )
    parser.add_argument(
        "--model", required=True, help="a model of open_clip, such as ViT-B-32-quickgelu"
    )
    parser.add_argument(
        "--pretrained",
        required=True,
        help="a tag of open_clip, such as openai, or a checkpoint file",
    )
    parser.add_argument(
        "--pretrained-cfg",
        help="for a file: the tag, or the settings as JSON, that it was trained with",
    )
    parser.add_argument(
        "--precision",
        choices=["auto", *STEPS],
        default="auto",
        help=(
            "auto: the fastest that decides as fp32 does; or the one to take whether it does or not"
        ),
    )
    parser.add_argument(
        "--target",
        choices=list(LADDERS),
        help="the processor that will serve; default cdk.json's architecture",
    )
    parser.add_argument(
        "--pictures", type=Path, help="a folder of your own images to judge precisions on"
    )
    parser.add_argument(
        "--labels", help="your own labels to judge precisions on, separated by commas"
    )
    parser.add_argument(
        "--revision", help="the hub's commit, branch or tag to take the weights from; default main"
    )
    parser.add_argument(
        "--language", help="of the labels, for a tokenizer that asks for one, such as deu_Latn"
    )
    parser.add_argument(
        "--tokenizer-revision", help="the commit, branch or tag of the tokenizer's own repository"
    )
    parser.add_argument("--licence", help="the licence of the weights, if the hub doesn't say")
    parser.add_argument(
        "--accept-licence", help="a licence that limits the use of the weights, and that you accept"
    )
    parser.add_argument(
        "--output", type=Path, help="the bundle's folder; default models/MODEL-PRETRAINED"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="round weights to the nearest: less time, less accuracy in 8 bits",
    )
    parser.add_argument("--crops", type=int, default=CROPS, help="photograph crops to verify on")
    parser.add_argument(
        "--with-torch",
        action="store_true",
        help="through open_clip, and verified against it, for any model",
    )
    arguments = parser.parse_args()
    file = Path(arguments.pretrained).expanduser()
    name = file.stem if file.is_file() else arguments.pretrained
    output = arguments.output or Path("models") / f"{arguments.model}-{name}".replace("/", "-")
    try:
        manifest = export(
            arguments.model,
            arguments.pretrained,
            arguments.pretrained_cfg,
            arguments.precision,
            output,
            name=name,
            licence=arguments.licence,
            revision=arguments.revision,
            accepted=arguments.accept_licence,
            language=arguments.language,
            tokenizer_revision=arguments.tokenizer_revision,
            crops=arguments.crops,
            quick=arguments.quick,
            with_torch=arguments.with_torch,
            target=arguments.target or architecture(),
            pictures=arguments.pictures and read_images(arguments.pictures),
            sentences=arguments.labels and read_labels(arguments.labels),
        )
    except NeedsTorchError as err:
        say(str(err))
        sys.exit(NEEDS_TORCH)
    except ExportError as err:
        sys.exit(f"error: {err}")
    size = sum(part.bytes for part in manifest.files.values()) / 1e6
    precision = manifest.precision
    say(
        f"{output}: {manifest.name}, image encoder {precision['image']}, text encoder"
        f" {precision['text']}, {size:.0f} MB"
    )
    say(f"Next, real answers about real photographs: make demo BUNDLE={output}")


if __name__ == "__main__":
    main()
