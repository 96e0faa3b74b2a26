"""`make models` prints the table that test_without_torch.py holds against open_clip."""

import csv
import io
import json
import subprocess
from collections import Counter
from operator import le
from typing import Any

import pytest

from dev.make.work import costs
from dev.model_choice import best, cheapest, figures
from export.sources.architecture import Architecture
from export.table.models import cells
from export.table.rows import FACTS, TABLE, read, rows
from tests.support.requests import ROOT

LINES = {(row.model, row.tag): "  ".join(cells(row)) for row in rows()}


def table() -> dict[str, Any]:
    return read(TABLE)


def facts() -> dict[str, Any]:
    return read(FACTS)


def printed(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", "models", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def names(*arguments: str) -> set[tuple[str, str]]:
    """Models and tags that are printed."""
    done = printed(*arguments)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.partition("\n\n")[0].splitlines()[1:]
    return {(words[0], words[1]) for words in map(str.split, lines)}


def test_every_model_and_tag_is_printed_with_what_is_known_the_best_first() -> None:
    pairs = {
        (model, tag): way for model, tags in table()["pairs"].items() for tag, way in tags.items()
    }
    lines, _, legend = printed().stdout.partition("\n\n")
    _, *shown = lines.splitlines()
    assert [line.split() for line in shown] == [line.split() for line in LINES.values()]
    assert {pair: line.split("  ", 16)[16] for pair, line in LINES.items()} == pairs
    accuracies = [float(line.split()[2].replace("?", "0")) for line in shown]
    assert accuracies == sorted(accuracies, reverse=True)
    count = legend.splitlines()[-1]
    assert count.startswith(f"{len(table()['pairs'])} models, {len(pairs)} with their tags: ")
    for way, number in Counter(way.partition(":")[0] for way in pairs.values()).items():
        assert f"{number} {way}" in count


def test_the_table_agrees_with_what_an_export_does() -> None:
    known = table()
    for model, tags in known["pairs"].items():
        for tag, way in tags.items():
            assert (way == "without torch") == (tag in known["pretrained"].get(model, {}))
            assert way == "without torch" or way.startswith("refused: ")
            if model in known["refused"]:
                assert known["refused"][model].endswith(way.removeprefix("refused: "))


def test_a_part_of_a_name_or_reason_is_looked_for() -> None:
    assert names("NAME=siglip2") == {pair for pair in LINES if "SigLIP2" in pair[0]}
    assert names("NAME=contradicts itself") == {("roberta-ViT-B-32", "laion2b_s12b_b32k")}
    nothing = printed("NAME=no such model")
    assert nothing.returncode != 0
    assert "no model, tag or reason has 'no such model'; `make models` shows" in nothing.stderr


@pytest.mark.parametrize(
    ("filters", "fits"),
    [
        (["LANGUAGE=de"], lambda row: "de" in (row.languages or [])),
        (["BUSINESS=yes"], lambda row: row.business is True),
        (["BUSINESS=no"], lambda row: row.business is False),
        (["MAX_TIMES=2"], lambda row: row.image is not None and row.image <= 2),
        (
            ["LANGUAGE=en", "BUSINESS=yes", "MAX_TIMES=4", "NAME=siglip"],
            lambda row: (
                "en" in (row.languages or [])
                and row.business
                and row.image <= 4
                and "SigLIP" in row.model
            ),
        ),
    ],
)
def test_filters_print_those_that_are_known_to_fit(filters: list[str], fits: Any) -> None:
    shown = names(*filters)
    assert shown == {(row.model, row.tag) for row in rows() if fits(row)}
    assert 0 < len(shown) < len(LINES)


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        (["LANGUAGE=xx"], "nothing is known of the language 'xx'; there are ar, bn, cs"),
        (["BUSINESS=maybe"], "invalid choice: 'maybe'"),
        (["MAX_TIMES=cheap"], "invalid float value: 'cheap'"),
        (["FORMAT=xml"], "invalid choice: 'xml'"),
        (["NAME=siglip", "MAX_TIMES=0.9"], "has 'siglip' and fits what else is asked"),
    ],
)
def test_a_filter_that_nothing_can_fit_is_refused(filters: list[str], message: str) -> None:
    done = printed(*filters)
    assert done.returncode != 0
    assert message in done.stderr


def test_every_figure_has_its_source_and_its_date() -> None:
    known = facts()
    for source in known["sources"].values():
        assert source["address"].startswith("https://")
        assert source["read"] in ("2026-11-30", "2026-12-01")
    measured = [tag for tags in known["accuracy"].values() for tag in tags.values()]
    for figures_of_a_pair in measured:
        assert "recall" in figures_of_a_pair or figures_of_a_pair["source"] in known["sources"]
        for name in {"imagenet", "average", "recall"} & figures_of_a_pair.keys():
            assert 0 < figures_of_a_pair[name] < 100
    for weights in known["weights"].values():
        for name in ("licence", "languages"):
            if name in weights:
                assert weights[f"{name}_source"] in known["sources"]
    used = {of.get(name) for of in measured for name in ("source", "recall_source")} | {
        weights.get(f"{name}_source")
        for weights in known["weights"].values()
        for name in ("licence", "languages")
    }
    assert set(known["sources"]) - used <= {"open_clip multilingual"}


def test_facts_are_of_models_and_weights_that_there_are() -> None:
    known, there = facts(), table()
    for model, tags in known["accuracy"].items():
        assert set(tags) <= set(there["pairs"][model])
    repositories = {
        settings["repository"]
        for tags in there["pretrained"].values()
        for settings in tags.values()
    }
    assert set(known["weights"]) == repositories
    for weights in known["weights"].values():
        assert weights.get("languages") in {*known["languages"], None}
        assert weights.get("licence") in {*known["business"], None}


def test_costs_are_those_of_the_shapes() -> None:
    there = table()
    assert there["costs"] == {
        name: costs(Architecture.model_validate(architecture))
        for name, architecture in there["architectures"].items()
    }


# Billions of operations, two for each multiplication, by docs/model_profile.csv of open_clip.
@pytest.mark.parametrize(
    ("model", "part", "operations"),
    [
        ("ViT-B-32", "image", 8.82),
        ("ViT-L-14-336", "image", 381.92),
        ("ViT-B-16-SigLIP", "image", 35.42),
        ("ViT-SO400M-14-SigLIP-384", "image", 670.35),
        ("EVA02-L-14", "image", 162.0),
        ("RN50x4", "image", 42.56),
        ("convnext_base", "image", 30.71),
        ("ViT-B-16-SigLIP", "label", 11.02),
        ("ViT-L-14-CLIPA", "label", 5.47),
    ],
)
def test_work_is_what_open_clip_counts(model: str, part: str, operations: float) -> None:
    assert 2 * table()["costs"][model][part] == pytest.approx(operations, abs=0.006, rel=1e-4)


def test_megabytes_are_those_of_the_download() -> None:
    costs_of = table()["costs"]
    assert costs_of["ViT-B-32-quickgelu"]["megabytes"] == 605
    assert costs_of["ViTamin-L-384"]["megabytes"] == pytest.approx(1830, abs=5)


def test_no_model_of_the_choice_is_beaten_and_each_other_is() -> None:
    every = [row for row in rows() if row.business]
    choice = best(every)
    assert len(choice) > 12
    assert choice == sorted(choice, key=figures)
    for row in every:
        better = [other for other in choice if all(map(le, figures(other), figures(row)))]
        assert (better == [row]) if row in choice else better


def test_the_cheapest_is_as_right_as_asked() -> None:
    every = rows()
    for least in (0.0, 63.3, 80.0):
        found = cheapest(every, least)
        assert (found.imagenet or 0) >= least
        assert not [
            row
            for row in every
            if (row.imagenet or 0) >= least and figures(row)[0] < figures(found)[0]
        ]


def test_csv_and_json_have_every_column_of_every_row() -> None:
    every = {(row.model, row.tag): row for row in rows()}
    listed = json.loads(printed("FORMAT=json").stdout)
    assert {(row["model"], row["tag"]) for row in listed} == set(every)
    lines = list(csv.DictReader(io.StringIO(printed("FORMAT=csv").stdout)))
    for row, line in zip(listed, lines, strict=True):
        for name, value in vars(every[row["model"], row["tag"]]).items():
            assert row[name] == (pytest.approx(value, abs=0.001) if value else value)
            text = " ".join(value) if isinstance(value, list) else value
            if isinstance(text, float):
                assert float(line[name]) == pytest.approx(text, abs=0.001)
            else:
                assert line[name] == ("" if text is None else str(text))
    assert not printed("FORMAT=csv", "NAME=ViT-B-32-256").stderr


def test_a_row_says_what_to_type_and_the_setting_of_a_deployment() -> None:
    for row in rows():
        if row.way == "without torch":
            assert row.command == f"make model MODEL={row.model} PRETRAINED={row.tag}"
            assert row.bundle == f"models/{row.model}-{row.tag}"
        else:
            assert (row.command, row.bundle) == (None, None)
