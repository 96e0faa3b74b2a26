import shutil
from pathlib import Path

import pytest

from classifier.contract.bundle import FILES, MANIFEST
from tests.support.requests import DEMO, ROOT
from tests.support.stacks import image


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """What an image could be made of, and much that must not matter."""
    shutil.copytree(
        ROOT / "lambdas", tmp_path / "lambdas", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copytree(DEMO, tmp_path / "models" / "demo")
    return tmp_path


def test_the_image_s_tag_changes_with_what_goes_into_it_and_with_nothing_else(
    repository: Path,
) -> None:
    def touched(path: str) -> str:
        file = repository / path
        file.parent.mkdir(parents=True, exist_ok=True)
        before = file.read_bytes() if file.exists() else None
        file.write_bytes((before or b"") + b"\n")
        tag = image(repository)
        if before is None:
            file.unlink()
        else:
            file.write_bytes(before)
        return tag

    tag = image(repository)
    package = "lambdas/classifier"
    matters = [
        f"{package}/{name}"
        for name in ("handler.py", "playground.html", "new.py", "requirements.txt", "Dockerfile")
    ]
    for path in [*matters, *(f"models/demo/{name}" for name in (MANIFEST, *FILES))]:
        assert touched(path) != tag, path
    for path in (
        f"{package}/__pycache__/handler.cpython-311.pyc",
        "export/__main__.py",
        "tools/requirements.txt",
        "models/demo/README.md",
        "models/other/image.onnx",
        "lambdas/other/handler.py",
        "tests/stacks/test_image.py",
        "stacks/api/rest_api.py",
        "app.py",
        "cdk.json",
        "README.md",
        "requirements.txt",
        ".venv/lib/handler.py",
        "node_modules/aws-cdk/package.json",
        "build/notes.txt",
        ".git/index",
    ):
        assert touched(path) == tag, path
    assert image(repository) == tag


def test_the_image_s_context_is_the_package_and_one_bundle(repository: Path) -> None:
    tag = image(repository, repository / "out")
    context = repository / "out" / f"asset.{tag}"
    files = {path.relative_to(context).as_posix() for path in context.rglob("*") if path.is_file()}
    package = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "lambdas" / "classifier").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert files == package | {f"models/demo/{name}" for name in (MANIFEST, *FILES)}
