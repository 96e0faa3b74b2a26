import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from classifier.handler import Handler
from conftest import ROOT
from serve import running


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": "lambdas"}, capture_output=True, text=True, check=False)


def test_moderation_sums_by_category_best_first(handler: Handler) -> None:
    with running(handler) as url:
        done = run("examples/moderation.py", "--endpoint", url, "--image", "examples/images/pizza.jpg")
    assert done.returncode == 0, done.stderr
    warning, title, *rows = done.stdout.splitlines()
    assert "nothing about photographs" in warning
    assert title == "Category probabilities:"
    shares = [float(row.split()[1].rstrip("%")) for row in rows]
    assert {row.split()[0] for row in rows} == {"neutral", "suggestive", "sport", "explicit", "gaming", "music", "violence"}
    assert shares == sorted(shares, reverse=True)
    assert abs(sum(shares) - 100) < 0.1


def refusing(status: int, body: str) -> Any:
    return lambda event, context: {"statusCode": status, "headers": {"Content-Type": "application/json"}, "body": body}


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (403, json.dumps({"message": "Forbidden"}), "403: Forbidden Is the key right?"),
        (400, json.dumps({"message": "labels is missing."}), "400: labels is missing."),
        (502, "<html>", "502: <html>"),
        (200, "<html>", "not as this API does: <html>"),
    ],
)
def test_moderation_tells_what_the_endpoint_said(status: int, body: str, said: str) -> None:
    with running(refusing(status, body)) as url:
        done = run("examples/moderation.py", "--endpoint", url)
    assert done.returncode == 1
    assert said in done.stderr


def test_moderation_tells_of_a_missing_file_and_a_dead_endpoint(tmp_path: Path) -> None:
    missing = run("examples/moderation.py", "--endpoint", "http://127.0.0.1:9/", "--image", str(tmp_path / "none.jpg"))
    dead = run("examples/moderation.py", "--endpoint", "http://127.0.0.1:9/")
    assert missing.returncode == dead.returncode == 1
    assert "none.jpg can't be read" in missing.stderr
    assert "http://127.0.0.1:9/ can't be reached" in dead.stderr
    assert "Traceback" not in missing.stderr + dead.stderr


def test_the_demo_names_the_right_label_for_each_sample() -> None:
    done = run("tools/demo.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "it says nothing about photographs" in done.stdout
    assert "make model MODEL=ViT-B-32-quickgelu PRETRAINED=openai" in done.stdout


def test_the_demo_takes_ones_own_picture_with_a_warning_first() -> None:
    done = run("tools/demo.py", "--image", "examples/images/dog.jpg", "--labels", "a dog, a teapot")
    assert done.returncode == 0, done.stderr
    assert done.stdout.index("nothing about photographs") < done.stdout.index("a teapot")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--image", "none.jpg", "--labels", "a"], "none.jpg can't be read"),
        (["--image", "README.md", "--labels", "a"], "The image is none of JPEG"),
        (["--image", "examples/images/dog.jpg"], "takes both"),
    ],
)
def test_the_demo_tells_what_is_wrong(words: list[str], said: str) -> None:
    done = run("tools/demo.py", *words)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
