"""What `make models` says of times, memory and price."""

import re

import pytest

from export.table.models import cells
from export.table.rows import DEFAULT, MEASURED, TABLE, Row, dollars_a_million, read, rows
from tests.support.requests import ROOT


def named(model: str) -> Row:
    return next(row for row in rows() if row.model == model)


def test_measured_figures_are_those_of_the_towers_and_the_others_are_marked() -> None:
    measured = read(MEASURED)
    row = named("ViT-B-32-256")
    image = measured["image"]["ViT-B-32-256"]
    [text] = [text for text in measured["text"].values() if row.model in text["models"]]
    assert (row.image, row.image_fp32) == (image["int8"]["times"], image["fp32"]["times"])
    assert (row.label, row.label_int14) == (text["int8"]["times"], text["int14"]["times"])
    assert row.megabytes_int8 == (image["int8"]["bytes"] + text["int8"]["bytes"]) / 1e6
    assert row.start == image["int8"]["load_s"] + text["int8"]["load_s"]
    assert row.memory == image["int8"]["memory_mb"] + text["int8"]["memory_mb"]
    assert not row.computed and "~" not in "".join(cells(row))
    large = named("ViT-bigG-14-quickgelu")
    assert {"image", "image_fp32", "dollars", "start", "memory"} <= set(large.computed)
    work = read(TABLE)["costs"]
    kin = [
        tower
        for name, tower in measured["image"].items()
        if re.fullmatch(r"ViT-.-\d+(-\d+)?(-quickgelu)?", name)
    ]
    plain = max(kin, key=lambda tower: work[tower["models"][0]]["image"])
    done = work[plain["models"][0]]["image"]
    times = plain["int8"]["times"] * work[large.model]["image"] / done
    assert large.image == pytest.approx(times)
    assert f"~{times:.2f}" in cells(large)


def test_a_large_vocabulary_counts_though_its_tower_is_shared() -> None:
    english, all_languages = map(named, ("ViT-B-16-SigLIP-256", "ViT-B-16-SigLIP-i18n-256"))
    assert english.label == all_languages.label
    more = (250000 - 32000) * (768 + 4) / 1e6
    assert (all_languages.megabytes_int8 or 0) - (english.megabytes_int8 or 0) == pytest.approx(
        more
    )


def test_the_default_is_about_as_fast_as_itself() -> None:
    default = next(row for row in rows() if (row.model, row.tag) == DEFAULT)
    for times in (default.image, default.image_fp32, default.image_int14, default.label):
        assert times == pytest.approx(1, abs=0.1)
    assert default.megabytes_int8 == pytest.approx((default.megabytes or 0) / 4, rel=0.1)


def test_a_million_images_of_the_default_cost_what_the_guide_says() -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert f"**${dollars_a_million(1) / 1000:.4f}**" in page
