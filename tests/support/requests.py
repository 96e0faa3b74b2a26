"""Requests to a handler as Lambda makes them, and answers as tests read them."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from classifier.api.handler import Handler
from classifier.contract.errors import ApiError
from classifier.contract.strict_json import JsonObject
from tests.support.images import encoded, soft_image

ROOT = Path(__file__).parent.parent.parent
DEMO = ROOT / "models" / "demo"
LABELS = ["just chatting", "game streamer", "neutral"]
SMALL = encoded(soft_image(80, 60), "JPEG")


@dataclass
class Context:
    """Stands in for Lambda's context: a request with this many milliseconds left."""

    left: int = 29_000
    aws_request_id: str = "00000000-0000-0000-0000-000000000000"

    def get_remaining_time_in_millis(self) -> int:
        return self.left


def event(body: object, method: str = "POST", resource: str = "/", **more: Any) -> dict[str, Any]:
    text = body if isinstance(body, str) or body is None else json.dumps(body)
    headers = more.pop("headers", {"Content-Type": "application/json"})
    return {
        "httpMethod": method,
        "resource": resource,
        "headers": headers,
        "body": text,
        "isBase64Encoded": False,
        **more,
    }


def classify_event(data: bytes, labels: list[str]) -> dict[str, Any]:
    return event({"image_data": base64_of(data), "labels": labels})


def ask(
    handler: Handler, event: dict[str, Any], left: int = 29_000
) -> tuple[int, Any, dict[str, str]]:
    answer = handler(event, Context(left))
    assert answer["headers"]["Access-Control-Allow-Origin"] == "*"
    return answer["statusCode"], json.loads(answer["body"] or "null"), answer["headers"]


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def outcome(parse: Callable[[JsonObject], Any], value: JsonObject) -> Any:
    """What is read; or status, code, field and message of the refusal."""
    try:
        return parse(value)
    except ApiError as err:
        return (err.status, err.code, err.field, err.message)
