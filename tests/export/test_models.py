"""`make models` prints the table that test_without_torch.py holds against open_clip."""

import json
import subprocess
from collections import Counter

from export.models import TABLE
from tests.support.requests import ROOT


def printed(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", "models", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_model_and_tag_is_printed_with_its_way_or_the_reason() -> None:
    table = json.loads(TABLE.read_text())
    pairs = [
        [model, tag, *way.split()]
        for model, tags in table["pairs"].items()
        for tag, way in tags.items()
    ]
    *lines, count = printed().stdout.splitlines()
    assert [line.split() for line in lines] == pairs
    assert count.startswith(f"{len(table['pairs'])} models, {len(pairs)} with their tags: ")
    for way, number in Counter(pair[2].rstrip(":") for pair in pairs).items():
        assert f"{number} {way}" in count


def test_the_table_agrees_with_what_an_export_does() -> None:
    table = json.loads(TABLE.read_text())
    for model, tags in table["pairs"].items():
        for tag, way in tags.items():
            assert (way == "without torch") == (tag in table["pretrained"].get(model, {}))
            assert (way == "without torch") == (model not in table["refused"])
            if model in table["refused"]:
                assert table["refused"][model].endswith(way.removeprefix("refused: "))


def test_a_part_of_a_name_or_reason_is_looked_for() -> None:
    lines = printed("NAME=siglip2").stdout.splitlines()[:-1]
    assert lines
    assert all("SigLIP2" in line for line in lines)
    nothing = printed("NAME=no such model")
    assert nothing.returncode != 0
    assert "no model, tag or reason has 'no such model'" in nothing.stderr
