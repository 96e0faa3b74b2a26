import json
import shutil
import time
from pathlib import Path
from typing import Any

import requests

from tests.support.requests import DEMO

JSON = {"Content-Type": "application/json"}


class Recorder:
    """Records its events, waits, and gives the answer or raises it."""

    def __init__(
        self, answer: dict[str, Any] | Exception | None = None, seconds: float = 0
    ) -> None:
        self.events: list[dict[str, Any]] = []
        self.answer = answer or ok("{}")
        self.seconds = seconds

    def __call__(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        self.events.append(event)
        time.sleep(self.seconds)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def ok(body: str) -> dict[str, Any]:
    return {"statusCode": 200, "headers": JSON, "body": body, "isBase64Encoded": False}


def post(
    url: str, body: bytes | None, headers: dict[str, str] = JSON, method: str | None = None
) -> tuple[int, Any, dict[str, str]]:
    """Status, JSON or text, and headers with names in title case. Without a body it is a GET."""
    method = method or ("GET" if body is None else "POST")
    response = requests.request(method, url, data=body, headers=headers, timeout=30)
    answer = response.json() if response.text.startswith("{") else response.text
    return (
        response.status_code,
        answer,
        {name.title(): value for name, value in response.headers.items()},
    )


def bundle(path: Path, **changes: object) -> Path:
    """The demo's files as a bundle of another model."""
    shutil.copytree(DEMO, path)
    manifest = json.loads((path / "bundle.json").read_bytes()) | changes
    (path / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")
    return path
