"""The main job on the embedded demo model: three samples, or a picture and labels of one's own, over HTTP."""

import argparse
import base64
import json
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from tools.local.serve import MODELS, ONLY_DRAWINGS, load, running

IMAGES = Path("examples/images")
# The label that comes first is the right one.
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
A_REAL_ONE = """For photographs make a real model, once, and serve it:
  make model MODEL=ViT-B-32-quickgelu PRETRAINED=openai
  make serve"""


@dataclass(frozen=True)
class Answered:
    result: dict[str, float]
    model: str
    timing: str


def ask(url: str, image: Path, labels: list[str]) -> Answered:
    """Raises SystemExit with the API's own message for what it refuses."""
    try:
        encoded = base64.b64encode(image.read_bytes()).decode()
    except OSError as err:
        sys.exit(f"{image} can't be read: {err.strerror}")
    body = json.dumps({"image_data": encoded, "labels": labels}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return Answered(json.load(answer)["result"], answer.headers["X-Model"], answer.headers["Server-Timing"])
    except urllib.error.HTTPError as err:
        text = err.read().decode("utf-8", "replace")
        sys.exit(f"{image}: {json.loads(text)['message'] if text.startswith('{') else text}")


def show(image: Path, answered: Answered) -> None:
    stages = answered.timing.replace(";dur=", " ").replace(",", " ms,")
    print(f"\n{image}   ({stages} ms)")
    width = max(map(len, answered.result))
    for label, share in sorted(answered.result.items(), key=lambda item: -item[1]):
        print(f"  {label:<{width}}  {share:7.2%}  {'█' * round(share * 30)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=MODELS / "demo")
    parser.add_argument("--image", type=Path)
    parser.add_argument("--labels", type=lambda text: [label.strip() for label in text.split(",")])
    asked = parser.parse_args()
    if bool(asked.image) != bool(asked.labels):
        sys.exit('A picture of your own takes both: make demo IMAGE=photo.jpg LABELS="a dog,a cat"')
    handler = load(asked.bundle)
    questions = {asked.image: asked.labels} if asked.image else {IMAGES / name: labels for name, labels in SAMPLES.items()}
    wrong = []
    with running(handler) as url:
        print(f"POST {url}")
        for image, labels in questions.items():
            answered = ask(url, image, labels)
            if answered.model == "demo" and asked.image:
                print(ONLY_DRAWINGS)
            show(image, answered)
            if not asked.image and max(answered.result, key=answered.result.__getitem__) != labels[0]:
                wrong.append(image)
    if answered.model == "demo":
        print(f"\n{ONLY_DRAWINGS}\n{A_REAL_ONE}")
    if wrong:
        sys.exit(f"Wrong answer for {', '.join(map(str, wrong))}.")


if __name__ == "__main__":
    main()
