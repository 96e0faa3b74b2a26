"""A classifier that is judged through the command line of `make evaluate`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.labelled import LABELS, draw
from tests.support.once import once
from tests.support.programs import exit_status
from tests.support.requests import DEMO
from tools.evaluate.__main__ import main

Evaluate = Callable[..., Any]


@pytest.fixture(scope="session")
def folder(shared: Path) -> Path:
    """80 of each label and 80 of none, to read alone."""
    return once(shared / "drawings", lambda path: draw(path, each=80, others=80))


@pytest.fixture(scope="session")
def cache(shared: Path) -> Path:
    """Of what is in those drawings, by its content, so that it is embedded once."""
    return shared / "embeddings.sqlite3"


@pytest.fixture
def evaluate(cache: Path, tmp_path: Path) -> Evaluate:
    def run(*arguments: object) -> Any:
        options = ["--cache", cache, "--report", tmp_path / "report.html", "--bundle", DEMO]
        return exit_status(main, *arguments, *options, "--processes", 1)

    return run


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"labels": LABELS, "description": "Shapes."}), encoding="utf-8")
    return path
