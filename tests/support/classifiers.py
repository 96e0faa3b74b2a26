"""Classifiers of the demo model, written and learned."""

import base64
from typing import Any

import numpy as np

from classifier.api.handler import Handler
from classifier.contract.bundle import read_manifest
from classifier.contract.classifiers.file import parse_classifier
from classifier.contract.classifiers.fit import fitted_on
from classifier.model.encoders import Encoders
from classifier.model.tokenizer import Tokenizer
from tests.support.requests import DEMO, ROOT, base64_of

MANIFEST = read_manifest(DEMO, verify_hashes=False)
PETS: dict[str, Any] = {
    "description": "Pets",
    "labels": ["a dog", "a cat", "a bird"],
    "actions": ["review", "block"],
    "thresholds": {"a dog": {"review": 0.2, "block": 0.9}, "a cat": {"block": 0.0}},
}
QUESTION = {key: value for key, value in PETS.items() if key != "description"}
IMAGE = base64_of((ROOT / "examples" / "images" / "dog.jpg").read_bytes())
WORDS = ["a dog", "a cat", "a bird"]


def learned(
    rows: np.ndarray[Any, Any], scale: float = MANIFEST.logit_scale, **more: Any
) -> dict[str, Any]:
    value = {"labels": WORDS, **more}
    vectors = base64.b64encode(rows.astype("<f4").tobytes()).decode()
    return value | {
        "fitted_on": fitted_on(MANIFEST, parse_classifier(value)).model_dump(),
        "head": {"vectors": vectors, "scale": scale},
    }


def word_rows(encoders: Encoders, words: list[str] = WORDS) -> np.ndarray[Any, Any]:
    tokenizer = Tokenizer(DEMO, MANIFEST.text)
    return np.stack(
        encoders.encode_text(
            [list(tokenizer.encode(word, "labels", "The label")) for word in words]
        )
    )


def handler_of(encoders: Any, **files: dict[str, Any]) -> Handler:
    return Handler(
        encoders, classifiers={name: parse_classifier(value) for name, value in files.items()}
    )
