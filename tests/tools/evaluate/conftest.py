"""A classifier that is judged through the command line of `make evaluate`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.labelled import LABELS, draw
from tests.support.programs import exit_status
from tests.support.requests import DEMO
from tools.evaluate.__main__ import main

Evaluate = Callable[..., Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("drawings")
    draw(found, each=80, others=80)
    return found


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache") / "embeddings.sqlite3"


@pytest.fixture
def evaluate(cache: Path, tmp_path: Path) -> Evaluate:
    def run(*arguments: object) -> Any:
        options = ["--cache", cache, "--report", tmp_path / "report.html", "--bundle", DEMO]
        return exit_status(main, *arguments, *options, "--processes", 2)

    return run


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"labels": LABELS, "description": "Shapes."}), encoding="utf-8")
    return path
