"""Events that a stranger may send, drawn from a seed."""

import base64
import copy
import json
from collections.abc import Callable
from random import Random
from typing import Any

from classifier.contract.request.media_types import BINARY_TYPES
from classifier.contract.request.url_parameters import QUERY_PARAMETERS
from tests.robustness.bodies import (
    ENCODED,
    MAX_BODY,
    deep,
    many,
    mutated,
    question,
    raw,
    text,
    texts,
    value,
)
from tests.robustness.forms import form
from tests.support.events import HTTP_EVENTS, LABELS

Event = Any
TYPES = (
    "",
    "application/json",
    "application/json; charset=utf-16",
    "text/plain",
    "IMAGE/JPEG",
    "image/jpeg;q=1",
    "*/*",
    *BINARY_TYPES,
)


def rest_event(random: Random, body: bytes) -> Event:
    """The event as API Gateway would make it of these bytes: text unless the content type is
    binary.
    """
    kind = random.choice(TYPES) if random.random() < 0.4 else "application/json"
    query: dict[str, list[str]] | None = None
    if random.random() < 0.3:
        names = [*QUERY_PARAMETERS, text(random, 20)]
        query = {
            random.choice(names): [text(random, 200) for _ in range(random.randint(1, 3))]
            for _ in range(random.randint(1, 4))
        }
    is_binary = kind in BINARY_TYPES
    headers = {"content-type": kind} if kind or random.random() < 0.5 else {}
    return {
        "httpMethod": "POST",
        "resource": "/",
        "headers": headers,
        "multiValueQueryStringParameters": query,
        "body": base64.b64encode(body).decode() if is_binary else body.decode("utf-8", "replace"),
        "isBase64Encoded": is_binary,
    }


def form_event(random: Random) -> Event:
    """A form as API Gateway hands it on, or as text, which destroys its files."""
    content_type, body = form(random, MAX_BODY)
    event = rest_event(random, b"")
    is_binary = random.random() < 0.9
    return event | {
        "headers": {"content-type": content_type},
        "body": base64.b64encode(body).decode() if is_binary else body.decode("utf-8", "replace"),
        "isBase64Encoded": is_binary,
    }


def openai_event(random: Random) -> Event:
    """A request in OpenAI's form, whole or mutated, to one of its routes, or to the other one."""
    image = f"data:image/jpeg;base64,{ENCODED}"
    texts: Any = random.choice(
        [
            image,
            "a dog",
            [image, "a dog"],
            LABELS,
            ["a"] * 3000,
            [1, 2],
            [[1, 2]],
            text(random, 900_000),
        ]
    )
    moderated: Any = [
        {
            "type": "image_url",
            "image_url": {"url": random.choice([image, "https://example.org/a.jpg", "data:,"])},
        }
    ]
    asked = (
        {
            "model": random.choice(["drawings", "moderation", "x"]),
            "input": random.choice([moderated, moderated * 2, "a dog", texts]),
        }
        if random.random() < 0.5
        else {
            "model": "demo",
            "input": texts,
            "encoding_format": random.choice(["float", "base64", "hex"]),
        }
    )
    for _ in range(random.choice([0, 0, 1, 2])):
        place = (
            random.choice([asked, *(item for item in asked["input"] if isinstance(item, dict))])
            if isinstance(asked.get("input"), list)
            else asked
        )
        place[random.choice([*place, "dimensions", text(random, 50)])] = value(random)
    event = rest_event(random, json.dumps(asked).encode()[:MAX_BODY])
    return event | {"resource": random.choice(["/v1/moderations", "/v1/embeddings"])}


def wrong_event(random: Random) -> Event:
    """An event of any kind with fields that are null, lists, of a wrong type, or missing."""
    event = copy.deepcopy(random.choice([*HTTP_EVENTS.values()]))
    for _ in range(random.randint(1, 4)):
        place: Any = event
        while True:
            name = (
                random.choice([*place, "headers", "body", "elb", "http", "path"])
                if isinstance(place, dict)
                else None
            )
            if isinstance(place.get(name), dict) and place[name] and random.random() < 0.6:
                place = place[name]
                continue
            break
        if random.random() < 0.2:
            place.pop(name, None)
        else:
            place[name] = value(random)
    return event


def direct_event(random: Random) -> Event:
    return random.choice([question, mutated, value])(random)


MAKERS: dict[str, Callable[[Random], Event]] = {
    "mutated": lambda random: rest_event(random, json.dumps(mutated(random)).encode()),
    "many": lambda random: rest_event(random, json.dumps(many(random)).encode()[:MAX_BODY]),
    "texts": lambda random: rest_event(random, json.dumps(texts(random)).encode()[:MAX_BODY]),
    "deep": lambda random: rest_event(random, deep(random).encode()[:MAX_BODY]),
    "raw": lambda random: rest_event(random, raw(random)),
    "form": form_event,
    "openai": openai_event,
    "event": wrong_event,
    "direct": direct_event,
}
