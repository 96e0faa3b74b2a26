"""`make classify`: which files it takes, and inputs that it refuses before it writes anything."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.pictures import encoded, picture
from tests.support.programs import exit_status
from tests.support.requests import DEMO
from tools.classify import main

JPEG = encoded(picture(60, 40), "JPEG")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "pictures"
    found.mkdir()
    (found / "a.jpg").write_bytes(JPEG)
    return found


def run(*arguments: object) -> Any:
    return exit_status(main, *arguments, "--bundle", DEMO, "--processes", 1)


def test_a_file_is_what_its_first_bytes_say_and_one_line_says_what_was_passed_over(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = ["a.jfif", "b.txt", "c", "deep/d.JPE"]
    for name in [*kept, "@eaDir/e.jpg", ".trash/f.jpg", "g.gif"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(JPEG)
    (folder / "notes.md").write_text("text", encoding="utf-8")
    output = tmp_path / "new" / "folder" / "results.jsonl"
    options = ["--labels", "a dog,a cat", "--output", output, "--exclude", "*.gif"]
    assert run(folder, *options) == 0
    found = {line["key"]: line for line in map(json.loads, output.read_text().splitlines())}
    assert {key for key, line in found.items() if "result" in line} == {"a.jpg", *kept}
    assert found["notes.md"]["skipped"] == "suffix .md"
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "Passed over 4 files: 1 hidden, 1 in @eaDir, 1 excluded, 1 suffix .md."


def test_a_folder_of_other_files_alone_says_what_it_has(folder: Path) -> None:
    (folder / "a.jpg").rename(folder / ".a.jpg")
    (folder / "notes.md").write_text("text", encoding="utf-8")
    message = run(folder, "--labels", "a,b")
    assert message.endswith(
        "There is no image in " + f"{folder}. Passed over 2 files: 1 hidden, 1 suffix .md."
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('["a dog"]', "must hold a JSON object"),
        ('[["labels", ["a dog", "a cat"]]]', "must hold a JSON object"),
        ("labels", "is not JSON"),
        ('"labels"', "must hold a JSON object"),
    ],
)
def test_a_request_that_is_no_object_is_refused(
    text: str, message: str, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "request.json"
    path.write_text(text, encoding="utf-8")
    output = tmp_path / "results.jsonl"
    assert message in run(folder, "--request", path, "--output", output)
    assert not output.exists()


def test_a_file_of_others_is_neither_read_nor_changed(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "results.jsonl"
    output.write_text('{"key": "a", "etag": "b"}\n{"name": "theirs"}\n', encoding="utf-8")
    before = output.read_bytes()
    assert "line 2 is not a result of make classify" in run(
        folder, "--labels", "a,b", "--output", output
    )
    assert output.read_bytes() == before


def test_a_folder_in_the_place_of_the_output_is_no_crash(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").mkdir()
    message = run(folder, "--labels", "a,b", "--output", tmp_path / "results.jsonl")
    assert message.startswith("error: ")
