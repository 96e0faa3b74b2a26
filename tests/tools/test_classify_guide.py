"""`make classify`: the guide's sorting of a folder, and a classifier by its path."""

import re
import shutil
from pathlib import Path

import pytest

from tests.support.requests import ROOT
from tests.support.results import lines, run
from tools.workers import BATCH


def test_the_guide_sorts_a_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "bulk.md").read_text(encoding="utf-8")
    section = page.partition("### Sort a folder")[2].partition("\n## ")[0]
    request, sorting = re.findall(r"```(?:json|python)\n(.*?)```", section, re.DOTALL)
    folder.rename(tmp_path / "thumbnails")
    (tmp_path / "request.json").write_text(request, encoding="utf-8")
    options = ["--output", tmp_path / "results.jsonl", "--processes", 1]
    images = tmp_path / "thumbnails"
    assert run(images, "--request", tmp_path / "request.json", *options) is None
    found = lines(tmp_path / "results.jsonl")
    monkeypatch.chdir(tmp_path)
    exec(sorting, {})
    moved = {path.relative_to("sorted").as_posix() for path in Path("sorted").rglob("*.*")}
    assert moved == {
        f"{next(iter(line['result']))}/{key}" for key, line in found.items() if "result" in line
    }
    assert len(moved) == 5
    assert (images / "bad.jpg").exists()
    # An image of the same name that came later replaces none, and moved ones stop nothing.
    (images / "inner").mkdir()
    shutil.copy(images / "bad.jpg", images / "inner" / "dog.jpg")
    exec(sorting, {})
    assert (images / "inner" / "dog.jpg").read_bytes() == b"no image"
    assert {path.relative_to("sorted").as_posix() for path in Path("sorted").rglob("*.*")} == moved


@pytest.mark.parametrize("processes", [1, 2])
def test_a_classifier_by_path_decides_as_by_name(
    folder: Path, tmp_path: Path, processes: int
) -> None:
    for index in range(BATCH):
        shutil.copy(ROOT / "examples" / "images" / "dog.jpg", folder / f"{index}.jpg")
    path = tmp_path / "mine" / "pets.json"
    path.parent.mkdir()
    shutil.copy(ROOT / "classifiers" / "drawings.json", path)
    output = tmp_path / "results.jsonl"
    named = ("--classifier", path, "--output", output, "--processes", processes)
    assert run(folder, *named) is None
    decision = lines(output)["inner/dog.jpg"]["decision"]
    assert [entry["name"] for entry in decision["labels"]] == ["a dog"]
