"""What the programs behind the Makefile's targets say about their command lines."""

import importlib
from pathlib import Path
from typing import Any

import pytest

from classifier.contract.request.query import Question
from tests.support.programs import exit_status
from tests.support.requests import DEMO, ROOT
from tools.arguments import single_name

IMAGE = ROOT / "examples" / "images" / "dog.jpg"
FOLDERS = {
    "classify": "classify",
    "evaluate": "evaluate.__main__",
    "learn": "evaluate.learn.__main__",
}


def status(module: str, *arguments: object) -> Any:
    return exit_status(importlib.import_module(f"tools.{module}").main, *arguments)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_missing_folder_is_asked_for_by_its_variable(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(FOLDERS[name], "--labels", "a dog,a cat") == 2
    wanted = f"error: say where the images are: make {name} PICTURES=folder\n"
    assert capsys.readouterr().err == wanted


@pytest.mark.parametrize(
    ("module", "arguments", "message"),
    [
        (
            "classify",
            ["x", "--precision", "0.9"],
            "unrecognized arguments: --precision 0.9; all opt",
        ),
        (
            "classify",
            ["x", "--labels"],
            "LABELS: expected one argument; all options: make classify",
        ),
        (
            "local.serve",
            ["--port", "abc"],
            "PORT: invalid int value: 'abc'; all options: make serve",
        ),
    ],
)
def test_a_wrong_option_is_named_as_the_user_wrote_it(
    module: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(module, *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}")
    assert error.endswith(" OPTIONS=--help\n")


def test_a_single_name_is_noted_unless_it_is_judged_alone() -> None:
    same = [
        Question(labels=["a dog"]),
        Question(categories={"pets": ["a dog", "a cat"]}),
        Question(categories={"pets": ["a dog"]}, combine="max"),
    ]
    assert all(map(single_name, same))
    others = [
        Question(labels=["a dog", "a cat"]),
        Question(labels=["a dog"], multi_label=True),
        Question(),
    ]
    assert not any(map(single_name, others))


def test_programs_note_a_single_label(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo = ["--labels", "a dog", "--image", IMAGE, "--bundle", DEMO]
    assert status("local.demo", *demo) == 0
    assert (
        "a single name gets 1.0 for every image. Add another to 'a dog', "
        in capsys.readouterr().out
    )
    (tmp_path / "a.jpg").write_bytes(IMAGE.read_bytes())
    for options in (["--labels", "a dog"], ["--labels", "a dog,a cat"]):
        output = tmp_path / "out" / f"{len(options[1])}.jsonl"
        folder = [tmp_path, "--output", output, "--bundle", DEMO, "--processes", 1]
        assert status("classify", *folder, *options) == 0
        assert ("a single name gets 1.0" in capsys.readouterr().err) == ("," not in options[1])
    assert status("evaluate.__main__", tmp_path, "--labels", "a dog") != 0
    assert "a single name gets 1.0" in capsys.readouterr().err
