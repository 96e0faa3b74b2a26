"""Sorts one picture into moderation categories: nine labels in one call, summed by category."""

import argparse
import base64
import os
import sys
from pathlib import Path

import requests

CATEGORIES = {
    "a thumbnail with a blank or logo": "neutral",
    "a thumbnail of a sexy person": "suggestive",
    "a thumbnail of a sport": "sport",
    "a thumbnail containing explicit adult content": "explicit",
    "a thumbnail of a casual gaming stream": "gaming",
    "a thumbnail with suggestive content": "suggestive",
    "a thumbnail of a music performance": "music",
    "a thumbnail containing real-world violent content": "violence",
    "a thumbnail showing violent content from a video game": "gaming",
}
SAMPLE = Path(__file__).parent / "images" / "dog.jpg"


def classify(endpoint: str, image: Path, key: str | None) -> requests.Response:
    """Posts the picture with all labels. Raises SystemExit with a readable message."""
    try:
        data = image.read_bytes()
    except OSError as err:
        sys.exit(f"{image} can't be read: {err.strerror}")
    body = {"image_data": base64.b64encode(data).decode(), "labels": list(CATEGORIES)}
    try:
        answer = requests.post(endpoint, json=body, headers={"x-api-key": key} if key else {}, timeout=60)
    except requests.RequestException as err:
        sys.exit(f"{endpoint} can't be reached: {err}")
    if answer.ok:
        return answer
    try:
        message = answer.json()["message"]
    except (ValueError, KeyError, TypeError):
        message = answer.text[:200] or answer.reason
    hint = " Is the key right? Give it with --api-key or in CLIP_API_KEY." if answer.status_code == 403 else ""
    sys.exit(f"The endpoint answered {answer.status_code}: {message}{hint}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoint", required=True, help="the URL that `make serve` or the deployment printed")
    parser.add_argument("--image", type=Path, default=SAMPLE)
    parser.add_argument("--api-key", default=os.environ.get("CLIP_API_KEY"))
    asked = parser.parse_args()
    answer = classify(asked.endpoint, asked.image, asked.api_key)
    if answer.headers.get("X-Model") == "demo":
        print("This is the demo model, trained on drawings: it says nothing about photographs.")
    sums = dict.fromkeys(CATEGORIES.values(), 0.0)
    try:
        for label, share in answer.json()["result"].items():
            sums[CATEGORIES[label]] += share
    except (ValueError, KeyError, TypeError):
        sys.exit(f"{asked.endpoint} answered, but not as this API does: {answer.text[:200]}")
    print("Category probabilities:")
    for category, share in sorted(sums.items(), key=lambda item: -item[1]):
        print(f"  {category:<10}  {share:7.2%}")


if __name__ == "__main__":
    main()
