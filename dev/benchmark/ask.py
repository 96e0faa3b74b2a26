"""Asks a handler in this process, as API Gateway would."""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Handler = Callable[[dict[str, Any], Any], dict[str, Any]]


@dataclass
class Context:
    """Lambda's context of a request that has 29 seconds left."""

    aws_request_id: str = "00000000-0000-0000-0000-000000000000"

    def get_remaining_time_in_millis(self) -> int:
        return 29_000


def event(**body: object) -> dict[str, Any]:
    return {
        "httpMethod": "POST",
        "resource": "/",
        "headers": {"Content-Type": "application/json"},
        "body": json.dumps(body),
        "isBase64Encoded": False,
    }


def ask(handler: Handler, body: Mapping[str, Any]) -> dict[str, Any]:
    """The answer's body. Raises AssertionError for a refusal."""
    response = handler(event(**body), Context())
    answer: dict[str, Any] = json.loads(response["body"])
    assert response["statusCode"] == 200, answer
    return answer


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()
