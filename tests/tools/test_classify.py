import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from pyarrow import parquet

from classifier.api.handler import Handler
from tests.support.images import SIZES, encoded, soft_image
from tests.support.requests import ROOT, ask, base64_of, event
from tests.support.results import lines, run
from tools.workers import BATCH

LABELS = ["a dog", "a cat", "a pizza"]


def test_a_folder_becomes_a_line_for_each_file_as_single_calls_answer(
    folder: Path, tmp_path: Path, handler: Handler
) -> None:
    output = tmp_path / "results.jsonl"
    assert run(folder, "--labels", ",".join(LABELS), "--output", output, "--processes", 2) is None
    found = lines(output)
    assert found["bad.jpg"]["error"]["code"] == "unsupported_media_type"
    assert found["notes.txt"]["skipped"] == "suffix .txt"
    assert ".hidden.jpg" not in found
    for path in (ROOT / "examples" / "images").iterdir():
        answer = ask(
            handler, event({"image_data": base64_of(path.read_bytes()), "labels": LABELS})
        )[1]
        assert found[f"inner/{path.name}"]["result"] == answer["result"]


def test_every_image_of_a_folder_gets_the_result_of_its_own_call(
    tmp_path: Path, handler: Handler
) -> None:
    folder = tmp_path / "pictures"
    output = tmp_path / "results.jsonl"
    folder.mkdir()
    kinds = ("JPEG", "PNG", "WEBP")
    for seed in range(120):
        width, height = SIZES[seed % 6]
        (folder / f"{seed}.{kinds[seed % 3].lower()}").write_bytes(
            encoded(soft_image(width, height, seed=seed), kinds[seed % 3])
        )
    assert run(folder, "--labels", ",".join(LABELS), "--output", output, "--processes", 2) is None
    found = lines(output)
    assert len(found) == 120
    for name, line in found.items():
        answer = ask(
            handler,
            event({"image_data": base64_of((folder / name).read_bytes()), "labels": LABELS}),
        )[1]
        assert line["result"] == answer["result"], name


def test_a_run_that_was_cut_off_goes_on_where_it_was(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "results.jsonl"
    options = [folder, "--labels", "a dog,a cat", "--output", output, "--processes", 1]
    run(*options)
    whole = output.read_bytes()
    kept = whole.splitlines(keepends=True)
    output.write_bytes(b"".join(kept[:3]) + kept[3][:20])
    capsys.readouterr()
    assert run(*options) is None
    assert sorted(output.read_bytes().splitlines()) == sorted(whole.splitlines())
    assert f"files, {len(kept) - 3} of them read by this run" in capsys.readouterr().out


def test_heic_is_taken_if_it_is_asked_for(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    found = tmp_path / "phone"
    found.mkdir()
    pillow_heif.from_pillow(soft_image(80, 60)).save(found / "a.heic")
    # More than one process classifies.
    for number in range(BATCH):
        (found / f"{number}.png").write_bytes(encoded(soft_image(80, 60)))
    outputs = []
    for options in (list[str](), ["--heic"]):
        output = tmp_path / f"results{len(options)}.jsonl"
        program = [sys.executable, "-m", "tools.classify", str(found), "--output", str(output)]
        program += ["--labels", ",".join(LABELS), "--processes", "2", *options]
        subprocess.run(program, cwd=ROOT, check=True)
        outputs.append(lines(output))
    without, taken = (output.get("a.heic", {}) for output in outputs)
    assert "result" not in without
    assert taken["result"].keys() == outputs[1]["0.png"]["result"].keys()


def test_any_option_of_the_api_may_be_asked_for(folder: Path, tmp_path: Path) -> None:
    request = tmp_path / "request.json"
    request.write_text(
        json.dumps(
            {
                "categories": {"pets": ["a dog", "a cat"], "food": ["a pizza"]},
                "details": True,
                "fit": "tiles",
            }
        )
    )
    output = tmp_path / "results.jsonl"
    assert run(folder, "--request", request, "--output", output, "--processes", 1) is None
    line = lines(output)["inner/dog.jpg"]
    assert (
        max(line["result"], key=line["result"].get),
        line["model"],
        line["model_details"]["name"],
    ) == ("pets", "demo", "demo")


def test_parquet_has_the_same_results(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "results.parquet"
    assert run(folder, "--labels", "a dog,a cat", "--output", output, "--processes", 1) is None
    table = {row["key"]: row for row in parquet.read_table(output).to_pylist()}
    for key, line in lines(tmp_path / "results.parquet.jsonl").items():
        assert dict(table[key]["result"] or {}) == line.get("result", {})
        assert table[key]["skipped"] == line.get("skipped")


def test_csv_has_the_best_label_of_each_file(folder: Path, tmp_path: Path) -> None:
    (folder / "dög, 2.jpg").write_bytes((folder / "inner" / "dog.jpg").read_bytes())
    output = tmp_path / "results.csv"
    assert run(folder, "--labels", ",".join(LABELS), "--output", output, "--processes", 1) is None
    rows = csv.DictReader(output.read_text(encoding="utf-8").splitlines())
    table = {row["key"]: row for row in rows}
    found = lines(tmp_path / "results.csv.jsonl")
    assert table.keys() == found.keys()
    assert table["dög, 2.jpg"]["label"] == "a dog"
    for key, line in found.items():
        best = max(line["result"].values()) if "result" in line else ""
        assert table[key]["probability"] == str(best)
        assert table[key]["error"] == line.get("error", {}).get("message", "")
        assert table[key]["skipped"] == line.get("skipped", "")


def test_a_classifier_by_name_decides(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "results.parquet"
    assert run(folder, "--classifier", "drawings", "--output", output, "--processes", 1) is None
    table = {row["key"]: row for row in parquet.read_table(output).to_pylist()}
    found = lines(tmp_path / "results.parquet.jsonl")
    for key, line in found.items():
        assert table[key]["decision"] == line.get("decision")
    assert [entry["name"] for entry in found["inner/dog.jpg"]["decision"]["labels"]] == ["a dog"]


def test_csv_has_what_counts_and_the_action(folder: Path, tmp_path: Path) -> None:
    request = tmp_path / "request.json"
    thresholds = {"a dog": {"review": 0.5, "block": 0.9}, "a pizza": {"review": 0.000001}}
    asked = {"labels": LABELS, "actions": ["review", "block"], "thresholds": thresholds}
    request.write_text(json.dumps(asked), encoding="utf-8")
    output = tmp_path / "results.csv"
    assert run(folder, "--request", request, "--output", output, "--processes", 1) is None
    rows = csv.DictReader(output.read_text(encoding="utf-8").splitlines())
    table = {row["key"]: (row["action"], row["counts"]) for row in rows}
    assert table["inner/dog.jpg"] == ("block", "a dog;a pizza")
    assert table["inner/pizza.jpg"] == ("review", "a pizza")
    assert table["bad.jpg"] == ("", "")


def test_an_empty_label_is_none(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "results.jsonl"
    assert run(folder, "--labels", "a dog,, a cat,", "--output", output, "--processes", 1) is None
    assert lines(output)["inner/dog.jpg"]["result"].keys() == {"a dog", "a cat"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--classifier", "My Pets"], "classifiers/My Pets.json has no name that a request can"),
        (["--labels", " ,"], "Say what to look for"),
        (
            ["--classifier", "drawing"],
            "classifiers/drawing.json is missing. In this folder: drawings",
        ),
        (["--classifier", "drawings", "--labels", "a,b"], "Give only one: "),
        (["--labels", "a dog,A dog"], "are the same to the model"),
        ([], "Say what to look for"),
        (["--labels", "a", "--output", "results.txt"], "must end in .jsonl, .csv or .parquet"),
        (["--labels", "a", "--bundle", "models/none"], "models/none holds no bundle"),
        (["--request", "none.json"], "none.json"),
    ],
)
def test_what_cannot_work_is_refused_before_any_image_is_read(
    folder: Path, arguments: list[str], message: str
) -> None:
    assert message in str(run(folder, *arguments))


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    assert "There is no image" in str(
        run(tmp_path, "--labels", "a", "--output", tmp_path / "r.jsonl")
    )
    assert "is no folder" in str(run(tmp_path / "none", "--labels", "a"))


def test_results_of_two_requests_never_share_a_file(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "results.jsonl"
    run(folder, "--labels", "a dog,a cat", "--output", output, "--processes", 1)
    before = output.read_bytes()
    assert "has results of other labels" in str(
        run(folder, "--labels", "a dog,food", "--output", output)
    )
    assert output.read_bytes() == before
