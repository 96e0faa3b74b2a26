"""Runs the examples and tools, and records what they send."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from classifier.api.handler import Handler
from tests.support.requests import ROOT


def run_python(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs Python with these arguments in the repository's root, with no other environment
    variables.
    """
    env = {"PYTHONPATH": "lambdas", **variables}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )


def exit_status(main: Callable[..., None], *arguments: object, **injected: Any) -> Any:
    """How a program's `main` exits: 0, another number, or its error message."""
    try:
        main([str(argument) for argument in arguments], **injected)
    except SystemExit as err:
        return err.code
    return 0


def response(status: int, body: str = '{"message": "No."}', **headers: str) -> dict[str, Any]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return {
        "statusCode": status,
        "headers": {"Content-Type": "application/json"} | named,
        "body": body,
    }


class RecordingHandler:
    """Records its events. Gives these responses in turn, then the answers of `handler`, or without
    one the last response again.
    """

    def __init__(self, *responses: dict[str, Any], handler: Handler | None = None) -> None:
        self.events: list[dict[str, Any]] = []
        self._responses = responses
        self._handler = handler

    def __call__(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        self.events.append(event)
        number = len(self.events)
        if self._handler and number > len(self._responses):
            answer: dict[str, Any] = self._handler(event, context)
            return answer
        return self._responses[min(number, len(self._responses)) - 1]

    def bodies(self) -> list[Any]:
        return [json.loads(event["body"]) for event in self.events]
