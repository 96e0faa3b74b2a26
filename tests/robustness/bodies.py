"""Bodies that a stranger may send: mutations of good ones, too large in some way, or bytes."""

import base64
import gzip
import json
from collections.abc import Sequence
from random import Random
from typing import Any

from classifier.contract.request.schema import ClassifyRequest
from tests.support.events import IMAGE, LABELS

MAX_BODY = 5_900_000
ENCODED = base64.b64encode(IMAGE).decode()
FIELDS = list(ClassifyRequest.model_fields)
# What cleaning works hardest at: line breaks, mojibake, entities, accents, ligatures, control
# characters, halves of surrogate pairs.
PIECES = (
    "a",
    "a dog ",
    "\n",
    "\r\n",
    "Ã©",
    "â€™",
    "Ã©\n",
    "&amp;amp;",
    "&#x41;",
    "&lt",
    "e\u0301\u0316",
    "ﬁ",
    "ﷺ",
    "İ",
    "\u2028",
    "\x85",
    "\x1b[0m",
    "\0",
    "\ufeff",
    "\ufffd",
    "\ud83d",
    "🐶",
    "собака",
    "一",
    "ᄀ",
    "\\u00e9",
    "{}",
    "<end_of_text>",
    '"',
    ",",
    "[",
)
LEAVES: tuple[Any, ...] = (
    "",
    "a",
    "*",
    0,
    -1,
    1.5,
    10**400,
    1e308,
    True,
    None,
    [],
    {},
    "\ufffd",
    [""],
    {"a": None},
    float("1e400"),
)


def text(random: Random, longest: int, among: Sequence[str] = PIECES) -> str:
    pieces = random.choices(among, k=random.randint(1, 4))
    length = int(longest ** random.random())
    return ("".join(pieces) * (length // max(1, sum(map(len, pieces))) + 1))[: max(1, length)]


def value(random: Random, depth: int = 0) -> Any:
    if depth < 3 and random.random() < 0.3:
        count = random.randint(0, 4)
        return (
            [value(random, depth + 1) for _ in range(count)]
            if random.random() < 0.5
            else {text(random, 30): value(random, depth + 1) for _ in range(count)}
        )
    return text(random, 300) if random.random() < 0.4 else random.choice(LEAVES)


def question(random: Random) -> dict[str, Any]:
    """A request that may well be answered."""
    if random.random() < 0.2:
        joined: Any = random.choice([LABELS, "a dog, a cat"])
        return {
            "inputs": random.choice([ENCODED, {"image": ENCODED}]),
            "parameters": {"candidate_labels": joined},
        }
    asked: dict[str, Any] = (
        {"image_data": ENCODED}
        if random.random() < 0.8
        else {"images": [ENCODED] * random.randint(1, 4)}
    )
    asked |= (
        {"labels": LABELS}
        if random.random() < 0.7
        else {"categories": {"a": LABELS[:2], "b": LABELS[2:]}}
    )
    if random.random() < 0.1:
        # Known to a handler that has the project's own classifiers.
        return {key: asked[key] for key in asked if key.startswith("image")} | {
            "classifier": random.choice(["drawings", "moderation", "x"])
        }
    if random.random() < 0.2:
        name = LABELS[0] if "labels" in asked else "a"
        asked |= (
            {"thresholds": {name: 0.3}}
            if random.random() < 0.5
            else {
                "actions": ["review", "block"],
                "thresholds": {name: {"review": 0.3, "block": 0.6}},
                "min_similarity": 0.1,
            }
        )
    if random.random() < 0.2:
        asked["regions"] = random.choice([2, 3, 4])
        asked |= {"multi_label": True, "regions_combine": "max"} if random.random() < 0.5 else {}
    return asked


def mutated(random: Random) -> dict[str, Any]:
    asked = question(random)
    for _ in range(random.randint(1, 3)):
        place = asked
        if isinstance(asked.get("parameters"), dict) and random.random() < 0.5:
            place = asked["parameters"]
        place[random.choice([*FIELDS, *place, text(random, 50)])] = value(random)
    return asked


def many(random: Random) -> dict[str, Any]:
    """A great many elements, keys, or characters instead of few."""
    element = random.choice(LEAVES)
    count = min(MAX_BODY // (len(json.dumps(element)) + 2), int(10 ** random.uniform(2, 6.3)))
    kind = random.randrange(6)
    if kind == 0:
        return question(random) | {random.choice(FIELDS): [element] * count}
    if kind == 1:
        keys = {f"{i:x}": element for i in range(min(count, 400_000))}
        return (
            keys
            if random.random() < 0.5
            else question(random) | {random.choice(["categories", "parameters"]): keys}
        )
    if kind == 2:
        return question(random) | {text(random, 900_000): element}
    if kind == 3:
        names = {text(random, 700_000): [f"p{i}" for i in range(random.randint(1, 2000))]}
        return {"image_data": ENCODED, "categories": names}
    if kind == 4:
        rows = random.randint(1, 1000)
        return {
            "image_data": ENCODED,
            "categories": {str(i): [element] * min(count // rows, 2000) for i in range(rows)},
        }
    return {
        "image_data": (
            random.choice(["data:", "data:image/png;x=", " ", "A", "%", "-", "=", "http://"])
            * min(count, 1_000_000)
        ),
        "labels": LABELS,
    }


def texts(random: Random) -> dict[str, Any]:
    """Labels and templates that take long to clean."""
    count = int(10 ** random.uniform(0, 3))
    among = random.sample(PIECES, 3)
    longest = random.choice([10, 100, 1000, min(20_000, MAX_BODY // count // 6)])
    asked: dict[str, Any] = {
        "image_data": ENCODED,
        "labels": [f"{i} {text(random, longest, among)}" for i in range(count)],
    }
    if random.random() < 0.5:
        asked["templates"] = [
            f"{text(random, 1000, among).replace('{}', '')}{{}}{i}"
            for i in range(random.randint(1, 100))
        ]
    if random.random() < 0.3:
        asked |= {"multi_label": True, "negative_template": text(random, 1100)}
    return asked


def deep(random: Random) -> str:
    opening, closing = random.choice([("[", "]"), ('{"a":', "}"), ('{"labels":[', "]}")])
    depth = int(10 ** random.uniform(1, 5.5))
    return (
        opening * depth
        + random.choice(["1", "", '"'])
        + (closing * depth if random.random() < 0.5 else "")
    )


def raw(random: Random) -> bytes:
    """Bytes that are nearly JSON, in some encoding, or nothing of the kind."""
    body = json.dumps(question(random)).encode()
    kind = random.randrange(6)
    if kind == 0:
        return body.decode().encode(
            random.choice(["utf-16", "utf-16-be", "utf-32", "utf-8-sig", "cp037"])
        )
    if kind == 1:
        return gzip.compress(body)
    if kind == 2:
        return body[: random.randrange(len(body))]
    if kind == 3:
        damaged = bytearray(body)
        for _ in range(random.randint(1, 20)):
            damaged[random.randrange(len(damaged))] = random.randrange(256)
        return bytes(damaged)
    if kind == 4:
        return random.randbytes(int(10 ** random.uniform(0, 5)))
    return random.choice(
        [
            b"",
            IMAGE,
            b"a=1&b=2",
            b"\xff\xfe",
            b"\0" * 100,
            b"NaN",
            b"-",
            b"9" * 100_000,
            b"1e9999999",
            b'"' + b"\\u00e9" * 900_000,
        ]
    )
