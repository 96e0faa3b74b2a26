"""Sorts an image into moderation categories of one or more prompts, in one call."""

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


def main(argv: Sequence[str] | None = None, backoff: type[client.Backoff] = client.Backoff) -> None:
    parser = client.argument_parser(__doc__)
    parser.add_argument("--image", type=Path, default=SAMPLE)
    arguments = parser.parse_args(argv)
    try:
        data, _ = client.shrink(arguments.image.read_bytes())
    except OSError as err:
        sys.exit(f"{arguments.image} can't be read: {err.strerror}")
    # "max", not "sum": more prompts must not make a category likelier, and a new prompt must not shift your thresholds.
    body = {"image_data": b64encode(data).decode(), "categories": CATEGORIES, "combine": "max"}
    result, model = client.post(client.open_session(arguments.api_key, backoff), arguments.endpoint, body, "result")
    if model == "demo":
        print(client.DEMO_WARNING)
    print("Category probabilities:")
    for category, share in sorted(result.items(), key=lambda item: -item[1]):
        print(f"  {category:<10}  {share:7.2%}")


if __name__ == "__main__":
    main()
