"""Runs `make classify`, and reads its lines."""

import json
from pathlib import Path
from typing import Any

from tools import classify


def run(*arguments: object) -> str | int | None:
    try:
        classify.main([str(argument) for argument in arguments])
    except SystemExit as err:
        return err.code
    return None


def lines(path: Path) -> dict[str, Any]:
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len({line["key"] for line in found}) == len(found)
    return {line["key"]: line for line in found}
