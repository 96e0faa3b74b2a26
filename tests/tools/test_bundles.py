"""The bundle that commands take if none is named."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from classifier.contract.bundle import read_manifest
from classifier.contract.classifiers.file import ClassifierError
from classifier.contract.classifiers.folder import fitted_elsewhere, read_classifiers
from tests.support.local import bundle
from tests.support.programs import exit_status
from tests.support.requests import DEMO, ROOT, Context
from tools.bundles import ONLY_DRAWINGS, announced
from tools.local.serve import load

COMMANDS = {
    "classify": ("tools.classify", ".", "--labels", "a dog,a cat"),
    "evaluate": ("tools.evaluate", "pictures", "--labels", "a dog,a cat"),
    "learn": ("tools.evaluate.learn", "pictures", "--labels", "a dog,a cat"),
    "serve": ("tools.local.serve", "--port", "0"),
    "demo": ("tools.local.demo", "--image", "pictures/a dog/1.jpg", "--labels", "a dog,a cat"),
}


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder with the demo's bundle, and images of two labels."""
    bundle(tmp_path / "models" / "demo")
    for label in ("a dog", "a cat"):
        (tmp_path / "pictures" / label).mkdir(parents=True)
    sample = ROOT / "examples" / "images"
    shutil.copy(sample / "dog.jpg", tmp_path / "pictures" / "a dog" / "1.jpg")
    shutil.copy(sample / "pizza.jpg", tmp_path / "pictures" / "a cat" / "1.jpg")
    return tmp_path


def run(desk: Path, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "lambdas")])}
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=desk, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", COMMANDS)
def test_with_several_real_bundles_every_command_lists_them(command: str, desk: Path) -> None:
    for name in ("one", "two"):
        bundle(desk / "models" / name, model=name)
    done = run(desk, *COMMANDS[command])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("name one:\n  BUNDLE=models/one\n  BUNDLE=models/two\n")


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"serve", "learn"}))
def test_the_only_real_bundle_is_taken_else_the_demo_and_one_line_says_so(
    command: str,
    desk: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(desk)
    module, *arguments = COMMANDS[command]
    package = importlib.import_module(module)
    program = package if hasattr(package, "main") else importlib.import_module(f"{module}.__main__")
    exit_status(program.main, *arguments)
    assert capsys.readouterr().err.count(f"Model: demo, of models/demo. {ONLY_DRAWINGS}\n") == 1
    bundle(desk / "models" / "real", model="real", pretrained="tag")
    exit_status(program.main, *arguments)
    error = capsys.readouterr().err
    assert error.count("Model: real/tag, of models/real.\n") == 1
    assert ONLY_DRAWINGS not in error


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"serve", "learn"}))
def test_a_bundle_that_is_still_being_made_is_not_taken(command: str, desk: Path) -> None:
    bundle(desk / "models" / ".ViT-B-32-openai-x1y2z3", model="unfinished")
    done = run(desk, *COMMANDS[command])
    assert f"Model: demo, of models/demo. {ONLY_DRAWINGS}\n" in done.stderr


@pytest.mark.parametrize(
    ("made_for", "here", "precision", "is_noted"),
    [
        ("arm64", "arm64", "int14", False),
        ("arm64", "x86_64", "int14", True),
        ("arm64", "x86_64", "fp32", False),
        ("x86_64", "arm64", "int8", True),
        ("x86_64", "x86_64-vnni", "int8", False),
        (None, "x86_64", "int8", False),
    ],
)
def test_a_bundle_that_was_made_for_another_processor_says_so(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    made_for: str | None,
    here: str,
    precision: str,
    is_noted: bool,
) -> None:
    path = made(tmp_path, made_for, precision)
    assert announced(path, here) == path
    note = (
        f" It was made for {made_for}. For this machine, perhaps faster: make model"
        f" MODEL=ViT-B-32 PRETRAINED=laion TARGET={here}"
    )
    line = f"Model: ViT-B-32/laion, of {path}.{note if is_noted else ''}\n"
    assert capsys.readouterr().err == line


@pytest.mark.parametrize("here", ["arm64", "x86_64"])
def test_a_bundle_whose_answers_would_be_wrong_here_is_refused(tmp_path: Path, here: str) -> None:
    path = made(tmp_path, "x86_64-vnni", "int8-full")
    with pytest.raises(SystemExit) as refused:
        announced(path, here)
    assert refused.value.code == (
        f"{path} was made for processors with VNNI, which this machine hasn't: its answers would"
        f" be wrong. Make it again: make model MODEL=ViT-B-32 PRETRAINED=laion TARGET={here}"
    )
    fp32 = made(tmp_path / "fp32", "x86_64-vnni", "fp32")
    assert announced(fp32, here) == fp32


def made(folder: Path, target: str | None, precision: str) -> Path:
    fidelity = {"target": target} if target else {}
    return bundle(
        folder / "bundle",
        model="ViT-B-32",
        pretrained="laion",
        precision={"image": precision, "text": precision},
        fidelity=fidelity,
    )


def test_a_damaged_bundle_is_left_to_its_loader(tmp_path: Path) -> None:
    assert announced(tmp_path) == tmp_path


def classifier(path: Path, fingerprint: str) -> None:
    path.parent.mkdir(exist_ok=True)
    labels = {"labels": ["a dog", "a cat"]}
    fitted = {"model": "other", "fingerprint": fingerprint, "question": "0" * 64}
    path.write_text(json.dumps(labels | ({"fitted_on": fitted} if fingerprint else {})))


def test_classifiers_of_another_model_are_not_served_and_each_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, fingerprint in (("plain", ""), ("a", "1" * 64), ("b", "2" * 64)):
        classifier(tmp_path / f"{name}.json", fingerprint)
    handler = load(DEMO, tmp_path)
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" was fitted on other")[0] for line in lines] == [
        f"Not served: {tmp_path / 'a.json'}",
        f"Not served: {tmp_path / 'b.json'}",
    ]
    event = {"httpMethod": "GET", "path": "/classifiers", "headers": {}}
    answer = handler(event, Context(60_000))
    assert [found["name"] for found in json.loads(answer["body"])["classifiers"]] == ["plain"]


def test_named_ones_of_another_model_are_refused_all_at_once(tmp_path: Path) -> None:
    manifest = read_manifest(DEMO, verify_hashes=False)
    for name in "ab":
        classifier(tmp_path / f"{name}.json", "1" * 64)
    with pytest.raises(ClassifierError) as refused:
        read_classifiers(tmp_path, manifest, ["a", "b"])
    assert len(str(refused.value).splitlines()) == 2
    assert list(fitted_elsewhere(tmp_path, manifest)) == ["a", "b"]


def test_a_file_that_macos_keeps_for_another_is_no_classifier(tmp_path: Path) -> None:
    classifier(tmp_path / "plain.json", "")
    (tmp_path / "._plain.json").write_bytes(b"\0\x05\x16\x07")
    assert list(read_classifiers(tmp_path, read_manifest(DEMO, verify_hashes=False))) == ["plain"]
