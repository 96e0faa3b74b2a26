"""Classifies three images, or one of your own with your labels, over HTTP: drawings for the demo
model, photographs for a real one.
"""

import base64
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import requests

from classifier.contract.bundle import read_manifest
from classifier.contract.request.query import Question
from tools.arguments import MakeParser, single_name, split
from tools.bundles import DEMO, MODELS, ONLY_DRAWINGS, announced, choose
from tools.local.serve import load, running

DRAWINGS_FOLDER = Path("examples/images")
PHOTOGRAPHS_FOLDER = Path("examples/photographs")
# The first label is the right one.
SAMPLES = {
    "dog.jpg": ["a dog", "a cat", "a horse", "a car", "food"],
    "pizza.jpg": ["a pizza", "a hamburger", "a cake", "a dog", "a flower"],
    "stars.jpg": [
        "three red stars on a blue background",
        "three blue stars on a red background",
        "a green circle",
        "something else",
    ],
}
PHOTOGRAPHS = {
    "cat.jpg": ["a cat", "a dog", "a tiger", "a person", "a landscape"],
    "coffee.jpg": ["a cup of coffee", "a glass of beer", "a plate of food", "a flower", "a laptop"],
    "rocket.jpg": [
        "a rocket launch",
        "fireworks",
        "a lighthouse at night",
        "an aeroplane",
        "a car",
    ],
}
REAL_MODEL = """For photographs, make a bundle of a real model once and try it:
  make model
  make demo BUNDLE=models/ViT-B-32-quickgelu-openai"""
BOTH = 'make demo IMAGE=photo.jpg LABELS="a dog,a cat,something else"'
ENGLISH = "Write labels in English: the demo model and OpenAI's models know no other language."


@dataclass(frozen=True)
class Answer:
    result: dict[str, float]
    model: str
    timing: str


def classify(url: str, image: Path, labels: list[str]) -> Answer:
    """Raises SystemExit with the API's message if it refuses the request."""
    try:
        encoded = base64.b64encode(image.read_bytes()).decode()
    except OSError as err:
        sys.exit(f"{image} can't be read: {err.strerror}")
    response = requests.post(url, json={"image_data": encoded, "labels": labels}, timeout=60)
    if not response.ok:
        sys.exit(
            f"{image}:"
            f" {response.json()['message'] if response.text.startswith('{') else response.text}"
        )
    return Answer(
        response.json()["result"], response.headers["X-Model"], response.headers["Server-Timing"]
    )


def show(image: Path, answer: Answer) -> None:
    stages = answer.timing.replace(";dur=", " ").replace(",", " ms,")
    print(f"\n{image}   ({stages} ms)")
    width = max(map(len, answer.result))
    for label, share in sorted(answer.result.items(), key=lambda item: -item[1]):
        print(f"  {label:<{width}}  {share:7.2%}  {'█' * round(share * 30)}")


def main(argv: Sequence[str] | None = None) -> None:
    parser = MakeParser(prog="make demo", description=__doc__)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--image")
    parser.add_argument("--labels", type=split)
    arguments = parser.parse_args(argv)
    if arguments.image and "://" in arguments.image:
        sys.exit(
            f"IMAGE={arguments.image} is an address, and the demo takes files. Fetch it first:"
            f" curl -o image.jpg {shlex.quote(arguments.image)}"
        )
    # Its samples are the demo model's, unless a bundle or an image is named.
    named = arguments.bundle or arguments.image
    bundle = announced(choose(arguments.bundle) if named else MODELS / DEMO)
    handler = load(bundle, None)
    demo = read_manifest(bundle, verify_hashes=False).name == DEMO
    if demo and arguments.image:
        print(REAL_MODEL)
    if bool(arguments.image) != bool(arguments.labels):
        sys.exit(f"For an image of your own, give both: {BOTH}")
    folder, samples = (DRAWINGS_FOLDER, SAMPLES) if demo else (PHOTOGRAPHS_FOLDER, PHOTOGRAPHS)
    images = (
        {Path(arguments.image): arguments.labels}
        if arguments.image
        else {folder / name: labels for name, labels in samples.items()}
    )
    if note := single_name(Question(labels=arguments.labels)):
        print(note)
    wrong = []
    with running(handler) as url:
        print(f"POST {url}")
        for image, labels in images.items():
            # The first call starts the decoder and encodes the labels: the times are the second's.
            classify(url, image, labels)
            answer = classify(url, image, labels)
            show(image, answer)
            if (
                demo
                and not arguments.image
                and max(answer.result, key=answer.result.__getitem__) != labels[0]
            ):
                wrong.append(image)
    if arguments.labels:
        print(f"\n{ENGLISH}")
    elif demo:
        print(f"\n{ONLY_DRAWINGS}\n{REAL_MODEL}")
    if wrong:
        sys.exit(f"Wrong answer for {', '.join(map(str, wrong))}.")


if __name__ == "__main__":
    main()
