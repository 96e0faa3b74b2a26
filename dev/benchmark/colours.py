"""Measures what a colour space is worth: make benchmark-colours.

The images of examples/images are saved in each space, and asked with its profile, without it, and
plainly in sRGB. Prints the largest difference of a probability to the plain one.
"""

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from classifier.api.handler import Handler
from classifier.model.encoders import Encoders
from dev import icc
from dev.benchmark.ask import ask, base64_of
from dev.images import encoded

LABELS = ["a dog", "a pizza", "a star", "a cat", "a bird", "a house", "a car", "a flower"]
SIDE = 256
GAMMAS: dict[str, float | None] = {"p3": None, "adobe": 2.2, "prophoto": 1.8, "bt2020": 2.4}


def main() -> None:
    handler = Handler(Encoders.load(Path("models/demo"), threads=2))
    images = []
    for path in sorted((Path("examples/images")).glob("*.jpg")):
        with Image.open(path) as file:
            images.append(file.convert("RGB").resize((SIDE, SIDE)))
    print("| colours | profile ignored | converted |\n|---|---|---|")
    for space, gamma in GAMMAS.items():
        encode: Callable[[icc.Floats], icc.Floats] = icc.power(gamma) if gamma else icc.curved
        tag = icc.rgb_profile(space, gamma)
        dropped = converted = 0.0
        for image in images:
            inside = icc.in_space(image, space, encode)
            files = (encoded(image), encoded(inside), encoded(inside, icc_profile=tag))
            body = {"images": [base64_of(file) for file in files], "labels": LABELS}
            answer = ask(handler, body)
            plain, without, tagged = (entry["result"] for entry in answer["results"])
            dropped = max(dropped, *(abs(without[label] - plain[label]) for label in LABELS))
            converted = max(converted, *(abs(tagged[label] - plain[label]) for label in LABELS))
        print(f"| {space} | {dropped:.2f} | {converted:.3f} |")


if __name__ == "__main__":
    main()
