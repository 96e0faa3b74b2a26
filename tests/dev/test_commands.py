"""Commands of the guides that `make document` doesn't run: they run here, or are held against what
the program that they call knows.
"""

import contextlib
import importlib
import io
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import botocore.session
import pytest
from botocore import xform_name

from classifier.api.handler import Handler
from classifier.contract.classifiers.folder import read_classifier
from classifier.model.encoders import Encoders
from tests.support.programs import exit_status
from tests.support.requests import ROOT
from tools.local.serve import running

GUIDES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {guide.name: guide.read_text(encoding="utf-8") for guide in GUIDES}
# By how a command begins: the module whose `main` has its options.
PROGRAMS = {
    r"\.venv/bin/python examples/(\w+)\.py": "{}",
    r"make (evaluate) ": "tools.evaluate.__main__",
    r"make (learn) ": "tools.evaluate.learn.__main__",
    r"make (serve) ": "tools.local.serve",
}
# Commands of AWS's command line itself, which no service has.
CUSTOM = {("login",), ("sso", "login"), ("aws", "login")}
GLOBAL = {"region", "output", "query", "profile"}


def code(text: str) -> list[str]:
    """The lines of fenced blocks and the code within sentences, continued lines as one."""
    fenced = re.findall(r"^```[a-z]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    blocks = [*fenced, *re.findall(r"`([^`\n]+)`", rest)]
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]


def options(program: str, *command: str) -> set[str]:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert exit_status(importlib.import_module(program).main, *command, "--help") == 0
    text = printed.getvalue()
    commands = re.search(r"{([\w,]+)}", text)
    named = set(re.findall(r"--[a-z][\w-]*", text))
    if program == "bulk" and commands and not command:
        for name in commands[1].split(","):
            named |= options(program, name)
    return named


def calls() -> list[tuple[str, str]]:
    return [
        (place.format(*match.groups()), line)
        for text in TEXTS.values()
        for line in code(text)
        for start, place in PROGRAMS.items()
        if (match := re.search(start, line))
    ]


@pytest.mark.parametrize("program", sorted({program for program, _ in calls()}))
def test_every_option_that_a_guide_gives_a_program_is_one_of_its_own(program: str) -> None:
    lines = [re.sub(r"\s# .*", "", line) for name, line in calls() if name == program]
    given = {option for line in lines for option in re.findall(r"(?<=[\s\"])--[a-z][\w-]*", line)}
    assert given <= options(program)


def documented_curls() -> list[str]:
    return sorted(
        {
            line
            for text in TEXTS.values()
            for line in code(text)
            if line.startswith("curl ") and "$KEY" in line
        }
    )


@pytest.mark.parametrize("command", documented_curls())
def test_every_curl_line_with_a_key_gets_an_answer(
    command: str, encoders: Encoders, tmp_path: Path
) -> None:
    drawings = read_classifier(ROOT / "classifiers" / "drawings.json")
    [name] = re.findall(r"classifier=(\w+)", command) or ["drawings"]
    shutil.copy(ROOT / "examples" / "images" / "dog.jpg", tmp_path / "photo.jpg")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    with running(Handler(encoders, classifiers={name: drawings})) as url:
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=tmp_path,
            env=os.environ | {"URL": url, "KEY": "unused"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    assert json.loads(done.stdout)["result"]["a dog"] > 0.5


def aws_calls() -> list[str]:
    return sorted(
        {
            found
            for text in TEXTS.values()
            for line in code(text)
            for found in re.findall(r"(?:^|\()aws ([a-z][^)|]*)", line)
        }
    )


@pytest.mark.parametrize("call", aws_calls())
def test_every_call_of_awss_command_line_exists_with_its_options(call: str) -> None:
    words = [word for word in call.split() if not word.startswith("-")]
    if tuple(words[:1]) in CUSTOM or tuple(words[:2]) in CUSTOM:
        return
    service = botocore.session.get_session().get_service_model(words[0])
    operations = {xform_name(name, "-"): name for name in service.operation_names}
    operation = service.operation_model(operations[words[1]])
    known = {xform_name(name, "-") for name in operation.input_shape.members}
    # A boolean member is a flag, perhaps with no- before it.
    given = {option.removeprefix("no-") for option in re.findall(r"--([a-z][\w-]*)", call)}
    assert given - GLOBAL <= known


@pytest.mark.parametrize(
    "command",
    [["node", "examples/ask.mjs"], ["php", "examples/ask.php"], ["go", "run", "examples/ask.go"]],
)
def test_the_program_in_another_language_gets_the_pages_first_answer(
    command: list[str], deployed: Handler, tmp_path: Path
) -> None:
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    with running(deployed) as url:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=os.environ | {"URL": url, "KEY": "", "GOCACHE": str(tmp_path)},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    assert re.search(r"a dog\W+(=> )?0\.97", done.stdout), done.stdout


def test_commands_are_found() -> None:
    assert len(documented_curls()) >= 3
    assert len(aws_calls()) >= 5
    assert len(calls()) >= 10
