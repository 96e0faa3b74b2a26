"""Requests, and the demo model's answers to them, that the document shows."""

import base64
import json
import time
from pathlib import Path

from classifier.contract.strict_json import JsonObject
from tools.local.gateway import Context
from tools.local.serve import load

DEMO = Path("models/demo")
STARS = Path("examples/images/stars-small.png")
LABELS = ["a star", "a circle"]


def examples() -> dict[str, tuple[JsonObject, JsonObject | list[JsonObject]]]:
    """Requests and what the demo model answers, probabilities to four digits."""
    handler = load(DEMO)
    image = base64.b64encode(STARS.read_bytes()).decode()
    requests: dict[str, JsonObject] = {
        "labels": {"image_data": image, "labels": LABELS},
        "multi_label": {
            "image_data": image,
            "labels": LABELS,
            "multi_label": True,
            "details": True,
        },
        "categories": {
            "image_data": image,
            "categories": {"shapes": LABELS, "animals": ["a dog", "a cat"]},
            "combine": "max",
        },
        "images": {
            "images": [image, "AAAA"],
            "labels": LABELS,
            "templates": ["{}", "a picture of {}"],
            "top_k": 1,
        },
        "thresholds": {
            "image_data": image,
            "labels": LABELS,
            "thresholds": {"a star": 0.8},
            "min_similarity": 0.1,
        },
        "classifier": {"image_data": image, "classifier": "drawings", "top_k": 1},
        "hugging_face": {"inputs": image, "parameters": {"candidate_labels": LABELS}},
    }
    pairs = {}
    for name, body in requests.items():
        event = {"httpMethod": "POST", "resource": "/", "body": json.dumps(body)}
        answer = handler(event, Context(time.monotonic() + 60, name))
        assert answer["statusCode"] == 200, answer
        pairs[name] = (
            body,
            json.loads(answer["body"], parse_float=lambda text: round(float(text), 4)),
        )
    return pairs
