"""`make classify`: which files it takes, and inputs that it refuses before it writes anything."""

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from classifier.images.formats import allow_heic
from tests.support.images import encoded, soft_image
from tests.support.programs import exit_status
from tests.support.requests import DEMO
from tools.classify import main
from tools.results import claimed

JPEG = encoded(soft_image(60, 40), "JPEG")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "pictures"
    found.mkdir()
    (found / "a.jpg").write_bytes(JPEG)
    return found


def run(*arguments: object) -> Any:
    return exit_status(main, *arguments, "--bundle", DEMO, "--processes", 1)


def test_a_file_is_what_its_first_bytes_say_and_each_file_is_counted_once(
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
    first, last = capsys.readouterr().out.splitlines()
    assert first == (
        f"{output}: 6 files, 6 of them read by this run: 5 classified, 0 with an error,"
        " 1 skipped (1 suffix .md)."
    )
    assert last == "Passed over 3 files: 1 hidden, 1 in @eaDir, 1 excluded."


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
        ("[" * 100_000, "is not JSON"),
        ('{"labels": ["a", "b"], "labels": ["c", "d"]}', 'The key "labels" appears twice'),
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


@pytest.mark.parametrize("text", ['{"key": "a", "etag": "b"}\n{"name": "theirs"}\n', "one line"])
def test_a_file_of_others_is_neither_read_nor_changed(
    text: str, folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "results.jsonl"
    output.write_text(text, encoding="utf-8")
    options = [folder, "--labels", "a,b", "--output", output]
    message = run(*options)
    assert "results.jsonl.request.json, which says what make classify was asked, is" in message
    assert output.read_text(encoding="utf-8") == text
    assert not output.with_name("results.jsonl.request.json").exists()


def test_a_line_that_is_no_result_is_named(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "results.jsonl"
    options = [folder, "--labels", "a,b", "--output", output]
    assert run(*options) == 0
    with output.open("a", encoding="utf-8") as file:
        file.write('{"name": "theirs"}\n')
    before = output.read_bytes()
    assert "line 2 is not a result of make classify" in run(*options)
    assert output.read_bytes() == before


@pytest.mark.parametrize("missing", ["results.jsonl.request.json", "results.parquet.jsonl"])
def test_results_whose_request_is_not_known_are_never_added_to(
    missing: str, folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / missing.removesuffix(".request.json").replace(".parquet.jsonl", ".parquet")
    assert run(folder, "--labels", "a dog,a cat", "--output", output) == 0
    before = output.read_bytes()
    (tmp_path / missing).unlink()
    message = run(folder, "--labels", "a dog,food", "--output", output)
    assert f"{tmp_path / missing}, " in message
    assert output.read_bytes() == before


def test_a_bundle_of_another_text_encoder_is_another_model(folder: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(DEMO, bundle)
    output = tmp_path / "results.jsonl"
    options = [folder, "--labels", "a,b", "--output", output, "--processes", 1, "--bundle"]
    assert exit_status(main, *options, bundle) == 0
    manifest = json.loads((bundle / "bundle.json").read_bytes())
    weights = bytearray((bundle / "text.weights").read_bytes())
    weights[-1] ^= 1
    (bundle / "text.weights").write_bytes(weights)
    manifest["files"]["text.weights"]["sha256"] = hashlib.sha256(weights).hexdigest()
    (bundle / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert "another folder or model" in exit_status(main, *options, bundle)


def test_two_runs_never_write_one_file_at_once(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "results.jsonl"
    options = [folder, "--labels", "a,b", "--output", output]
    with claimed(output, output, {}):
        assert f"Another make classify writes {output}" in run(*options)
        assert not output.exists()
    assert run(*options) == 0


def test_a_file_that_has_changed_counts_once(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "results.parquet"
    options = [folder, "--labels", "a dog,a cat", "--output", output]
    assert run(*options) == 0
    (folder / "a.jpg").write_bytes(b"no image")
    capsys.readouterr()
    assert run(*options) == 0
    lines = tmp_path / "results.parquet.jsonl"
    assert len(lines.read_text(encoding="utf-8").splitlines()) == 2
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith(
        ": 1 file, 1 of them read by this run: 0 classified, 1 with an error, 0 skipped."
    )
    assert second.startswith(
        f'Errors are the lines with "error" in {lines}, such as of a.jpg: The image'
    )
    assert [row["error"] is None for row in parquet.read_table(output).to_pylist()] == [False]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_not_utf_8_stay_apart_and_lead_back_to_their_files(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    names = ["a_\udcfc.jpg", "a_\udce4.jpg", "a_?.jpg", "a_ü.jpg"]
    output = tmp_path / "results.parquet"
    # The second run goes on with the other files.
    for some in (names[:1], names[1:]):
        for name in some:
            (folder / name).write_bytes(JPEG)
        assert run(folder, "--labels", "a dog,a cat", "--output", output) == 0
    lines = (tmp_path / "results.parquet.jsonl").read_text(encoding="utf-8").splitlines()
    keys = [json.loads(line)["key"] for line in lines]
    assert sorted(keys) == sorted(names)
    assert all((folder / key).is_file() for key in keys)
    rows = parquet.read_table(output).to_pylist()
    printed = {r"a_\xfc.jpg", r"a_\xe4.jpg", "a_?.jpg", "a_ü.jpg"}
    assert {row["key"] for row in rows} == printed


def test_heic_that_was_passed_over_is_counted_with_the_option_and_read_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    folder = tmp_path / "phone"
    folder.mkdir()
    (folder / "a.png").write_bytes(encoded(soft_image(80, 60)))
    for name in ("b.heic", "named_by_hand.jpg"):
        pillow_heif.from_pillow(soft_image(80, 60)).save(folder / name)
    (folder / "broken.heic").write_bytes(b"text")
    (folder / "notes.txt").write_bytes(b"text")
    output = tmp_path / "results.jsonl"
    options = [folder, "--labels", "a dog,a cat", "--output", output]
    assert run(*options) == 0
    assert "To take the 2 in HEIC, add OPTIONS=--heic." in capsys.readouterr().out
    try:
        for new in (3, 0):
            assert run(*options, "--heic") == 0
            assert (
                f": 5 files, {new} of them read by this run: 3 classified, 1 with"
                in capsys.readouterr().out
            )
    finally:
        allow_heic(False)
        os.environ.pop("CLIP_TOOLS_HEIC")


def test_a_folder_in_the_place_of_the_output_is_no_crash(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").mkdir()
    message = run(folder, "--labels", "a,b", "--output", tmp_path / "results.jsonl")
    assert message.startswith("error: ")
