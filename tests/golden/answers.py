"""Requests of the tests with the handler's answers, recorded on the demo model at commit f0e94da:
all with bodies up to 100 kB.

They show that a change leaves every answer as it is. If answers change on purpose, `make
golden-answers` answers the same requests again, prints those whose answers differ, and rewrites the
file; commit it with the change.
"""

import json
import lzma
import sys
from pathlib import Path
from typing import Any

from classifier.api.handler import Handler
from classifier.model.encoders import Encoders
from tests.support.requests import DEMO, Context

FILE = Path(__file__).with_name("answers.json.xz")
# How far apart probabilities, similarities and components of embeddings may be on different
# processors.
TOLERANCE = 2e-3
Record = tuple[dict[str, Any], dict[str, Any]]
# Times, the version, and the hash of the page.
CHANGING_HEADERS = {"Server-Timing", "X-Version", "Content-Security-Policy"}


def records() -> list[Record]:
    """Each event with its answer, as `answer` returns it."""
    return [(event, answer) for event, answer in json.loads(lzma.decompress(FILE.read_bytes()))]


def answer(handler: Handler, event: dict[str, Any]) -> dict[str, Any]:
    """The answer without what may change: timings, messages, the page and the OpenAPI document."""
    response: dict[str, Any] = handler(event, Context())
    headers = {
        name: value for name, value in response["headers"].items() if name not in CHANGING_HEADERS
    }
    body = None
    if response["body"] and event["httpMethod"] != "GET":
        body = json.loads(response["body"])
        # Key order, separators, escapes and digits are those of json.dumps.
        assert json.dumps(body, ensure_ascii=False) == response["body"]
    return response | {"headers": headers, "body": _compact(body)}


def is_same(expected: Any, actual: Any) -> bool:
    """Exact but for numbers, which may differ by TOLERANCE, so that neighbours closer than that may
    change places.
    """
    if isinstance(expected, float) and isinstance(actual, float):
        return abs(expected - actual) <= TOLERANCE
    if isinstance(expected, dict) and isinstance(actual, dict):
        if expected.keys() != actual.keys() or not all(
            is_same(expected[key], actual[key]) for key in expected
        ):
            return False
        return list(expected) == list(actual) or all(
            map(is_same, expected.values(), actual.values())
        )
    if isinstance(expected, list) and isinstance(actual, list):
        return len(expected) == len(actual) and all(map(is_same, expected, actual))
    return type(expected) is type(actual) and bool(expected == actual)


def _compact(body: Any) -> Any:
    if isinstance(body, dict):
        text = {"message", "error"}
        return {
            key: _compact(value)
            for key, value in body.items()
            if not (key in text and isinstance(value, str))
        }
    if isinstance(body, list):
        return [_compact(item) for item in body]
    return round(body, 5) if isinstance(body, float) else body


def main() -> None:
    handler = Handler(Encoders.load(DEMO, threads=2))
    changed = 0
    result = []
    for event, expected in records():
        actual = answer(handler, event)
        if is_same(expected, actual):
            actual = expected
        else:
            changed += 1
            print(f"{str(event)[:300]}\n  was {str(expected)[:300]}\n  is  {str(actual)[:300]}")
        result.append((event, actual))
    FILE.write_bytes(lzma.compress(json.dumps(result, separators=(",", ":")).encode(), preset=9))
    print(f"{changed} of {len(result)} answers changed.", file=sys.stderr)


if __name__ == "__main__":
    main()
