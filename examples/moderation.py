"""Sorts one picture into moderation categories, several prompts each, in one call."""

import sys
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

import client

CATEGORIES = {
    "neutral": ["a thumbnail with a blank or logo"],
    "suggestive": ["a thumbnail of a sexy person", "a thumbnail with suggestive content"],
    "sport": ["a thumbnail of a sport"],
    "explicit": ["a thumbnail containing explicit adult content"],
    "gaming": ["a thumbnail of a casual gaming stream", "a thumbnail showing violent content from a video game"],
    "music": ["a thumbnail of a music performance"],
    "violence": ["a thumbnail containing real-world violent content"],
}
SAMPLE = Path(__file__).parent / "images" / "dog.jpg"


def main(words: Sequence[str] | None = None, patience: type[client.Patience] = client.Patience) -> None:
    parser = client.arguments(__doc__)
    parser.add_argument("--image", type=Path, default=SAMPLE)
    asked = parser.parse_args(words)
    try:
        data, _ = client.shrunk(asked.image.read_bytes())
    except OSError as err:
        sys.exit(f"{asked.image} can't be read: {err.strerror}")
    # "max", not "sum": a category must not look likelier because more prompts describe it, and thresholds outlive a new prompt.
    question = {"image_data": b64encode(data).decode(), "categories": CATEGORIES, "combine": "max"}
    result, model = client.ask(client.session(asked.api_key, patience), asked.endpoint, question, "result")
    if model == "demo":
        print(client.ONLY_DRAWINGS)
    print("Category probabilities:")
    for category, share in sorted(result.items(), key=lambda item: -item[1]):
        print(f"  {category:<10}  {share:7.2%}")


if __name__ == "__main__":
    main()
