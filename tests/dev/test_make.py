"""The Makefile hands on what a user fills in as it was written."""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.deployment import Programs
from tests.support.makefile import outside_make, takes
from tests.support.requests import ROOT

VALUES = [
    "a $5 bill",
    "$(id) `id` ${HOME}",
    'it\'s "a dog"',
    "C:\\new\\table",
    "café, 狗",
    "a  b #1",
]
# Of the commands that hand on every variable but OPTIONS, which are words.
GIVEN = {
    name: sorted(takes()[name] - {"OPTIONS"})
    for name in (
        *("demo", "serve", "classify", "evaluate", "learn", "model", "models", "pack", "drawings"),
        *("fetch-bundle", "upload-events"),
    )
} | {"benchmark": ["URL", "KEY", "FUNCTION", "CALLS", "COLD_STARTS"]}


def run(target: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """What make would run."""
    return subprocess.run(
        ["make", "-n", target, *(f"{name}={text}" for name, text in variables.items())],
        cwd=ROOT,
        env=outside_make(),
        capture_output=True,
        text=True,
        check=False,
    )


def recipe(target: str, **variables: str) -> list[str]:
    """The words of it."""
    done = run(target, **variables)
    assert done.returncode == 0, done.stderr
    return shlex.split(done.stdout.replace("\\\n", ""), comments=False)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("target", GIVEN)
def test_every_variable_arrives_as_it_was_written(target: str, value: str) -> None:
    sent = {name: f"{name.lower()} {value}" for name in GIVEN[target]}
    words = recipe(target, **sent, **({"NAME": "endpoint"} if target == "benchmark" else {}))
    texts = {text for word in words for text in (word, re.sub("^--[a-z-]+=", "", word))}
    assert [text for text in sent.values() if text not in texts] == []


@pytest.mark.parametrize("target", ["classify", "evaluate", "learn"])
def test_a_text_may_begin_with_a_dash(target: str) -> None:
    words = recipe(target, PICTURES="-a", LABELS="-10 %,other", OPTIONS="--heic")
    parser = argparse.ArgumentParser()
    parser.add_argument("pictures")
    parser.add_argument("--labels")
    parser.add_argument("--heic", action="store_true")
    given = parser.parse_args(words[words.index("--labels=-10 %,other") :])
    assert (given.pictures, given.labels, given.heic) == ("-a", "-10 %,other", True)


@pytest.mark.parametrize("target", takes())
def test_a_variable_that_a_command_would_ignore_is_refused(target: str) -> None:
    known = set().union(*takes().values())
    taken = takes()[target]
    for name in [*sorted(known - taken)[::5], "LABELs", "lables"]:
        done = run(target, **{name: "x"})
        assert (done.returncode, done.stdout) == (2, "")
        listed = " ".join(sorted(taken)) or "none"
        assert f"make {target} has no variable {name}. It takes {listed}.  Stop." in done.stderr


def test_a_target_that_no_list_has_takes_what_any_command_takes() -> None:
    assert run("setup-export", NAME="x", VENV="x").returncode == 0
    assert "has no variable NAM." in run("setup-export", NAM="x").stderr


def made(target: str, **environment: str) -> list[str]:
    done = subprocess.run(
        ["make", "-n", target],
        cwd=ROOT,
        env=outside_make() | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return shlex.split(done.stdout.replace("\\\n", ""), comments=False)


def test_the_model_of_the_environment_is_the_one_that_is_deployed() -> None:
    for target in ("deploy-cdk", "diff", "synth"):
        words = made(target, MODEL="ViT-L-14", PRETRAINED="laion")
        assert "bundle=models/ViT-L-14-laion" in words


def test_the_bundle_of_a_deployment_is_made_for_the_processor_that_it_sets() -> None:
    settings = "memory=4096 architecture=x86_64"
    assert "--target=x86_64" in made("model", SETTINGS=settings)
    assert "--target=arm64" in made("model", SETTINGS=settings, TARGET="arm64")
    assert not any(word.startswith("--target") for word in made("model"))


@pytest.mark.parametrize("target", ["models", "model"])
def test_what_a_desktop_gives_each_program_is_not_taken(target: str) -> None:
    """Windows names the machine, Ubuntu the languages of messages."""
    given = made(target, NAME="DESKTOP-1", LANGUAGE="en_GB:en")
    assert not {"DESKTOP-1", "en_GB:en", "--language=en_GB:en"} & set(given)


def test_a_path_may_begin_with_the_home_folder() -> None:
    given = {"PICTURES": "~/it's $5", "OUTPUT": "a/~/b.jsonl", "BUNDLE": "~/c", "LABELS": "a ~/b"}
    lines = run("classify", **given).stdout.replace("\\\n", "").splitlines()
    [call] = [line for line in lines if "-m tools.classify" in line]
    program = call.replace(".venv/bin/python -m tools.classify", "printf '%s\\n'")
    words = subprocess.run(
        ["sh", "-c", program], env={"HOME": "/home/me"}, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert words[-1] == "/home/me/it's $5"
    assert {"--bundle=/home/me/c", "--output=a/~/b.jsonl", "--labels=a ~/b"} <= set(words)


def test_a_name_that_no_encoding_holds_is_printed_with_escapes(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin/python"
    python.write_text(f"""#!/bin/sh\nexec {sys.executable} -c 'print("a\\ud800.jpg")'\n""")
    python.chmod(0o755)
    for ready in ("serves", "group-tools"):
        (tmp_path / ready).touch()
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        ["make", "classify", f"VENV={tmp_path}"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "a\\ud800.jpg\n"


@pytest.mark.parametrize(("name", "installs"), [("endpoint", False), ("api", True)])
def test_a_deployment_is_measured_without_the_developers_packages(
    name: str, installs: bool, tmp_path: Path
) -> None:
    done = run("benchmark", NAME=name, VENV=str(tmp_path / "none"), PYTHON=sys.executable)
    assert ("--group dev" in done.stdout, "--no-deps -r" in done.stdout) == (installs, True)


def test_suites_that_are_named_together_share_one_run() -> None:
    words = recipe("test", SUITE="sam deploy", SAM="none/sam", STAND_INS="none/account")
    assert words[-3:] == ["pytest", "tests/sam", "tests/deployment"]
    assert {"none/sam/ready", "none/account/ready"} <= set(words)


@pytest.mark.parametrize("name", ["LABELS", "OPTIONS", "BUNDLE"])
def test_a_line_break_which_would_make_two_commands_is_refused(name: str) -> None:
    done = run("classify", **{name: "a dog,\necho a cat"})
    assert done.returncode == 2
    assert f"*** {name} has a line break. Write it on one line." in done.stderr


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("target", ["serve", "classify", "evaluate", "learn"])
def test_options_are_words_of_the_shell(target: str, value: str) -> None:
    words = recipe(target, OPTIONS=f"--one {shlex.quote(value)} --two=2")
    assert words[-3:] == ["--one", value, "--two=2"]


@pytest.mark.parametrize("value", [value.replace(" ", "_") for value in VALUES])
@pytest.mark.parametrize("target", ["bootstrap", "deploy-cdk", "diff", "synth", "destroy"])
def test_each_setting_arrives_as_it_was_written(target: str, value: str) -> None:
    words = recipe(target, SETTINGS=f"name=a{value} memory=4096")
    assert f"name=a{value}" in words
    assert "memory=4096" in words


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("target", ["deploy-cdk", "diff", "synth"])
def test_the_named_bundle_is_the_one_that_is_deployed(target: str, value: str) -> None:
    assert f"bundle=models/{value}" in recipe(target, BUNDLE=f"models/{value}")
    one_word = value.replace(" ", "_")
    assert f"bundle=models/{one_word}" in recipe(target, SETTINGS=f"bundle=models/{one_word}")
    assert f"bundle=models/{value}-a" in recipe(target, MODEL=value, PRETRAINED="a")


@pytest.mark.parametrize("target", ["synth", "test"])
def test_without_node_nothing_is_installed(target: str, tmp_path: Path) -> None:
    # Installing would begin with the Python.
    words = [target, f"VENV={tmp_path}/none", "PYTHON=false"]
    make = shutil.which("make")
    assert make
    environment = outside_make() | {"PATH": str(Programs(tmp_path).folder)}
    done = subprocess.run(
        [make, *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    message = "Node.js 22 or newer is needed: https://nodejs.org\n"
    assert (done.returncode, done.stdout) == (2, message)
