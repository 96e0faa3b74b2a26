import json
import sys
from pathlib import Path

import numpy as np
import pytest

from dev.benchmark.models import MAX_WORK, Tiled, Tower, fill, precisions, towers
from dev.weights import plain, small_architecture, unfriendly
from export.sources.architecture import Architecture
from export.sources.source import read_table
from export.table.rows import DEFAULT, MEASURED, read

TOWERS = [
    Tower(encoder, small_architecture(), 1.0, models=["small"]) for encoder in ("image", "text")
]


def test_every_model_with_weights_has_one_image_and_one_text_tower() -> None:
    found = towers(read_table())
    for encoder in ("image", "text"):
        models = [model for tower in found if tower.encoder == encoder for model in tower.models]
        assert sorted(models) == sorted(read_table()["pretrained"])
    assert [tower.work for tower in found] == sorted(tower.work for tower in found)
    [default] = [tower for tower in found if tower.name == DEFAULT[0] and tower.encoder == "image"]
    assert default.work == 1
    texts = [tower.architecture.text for tower in found]
    assert {text.pool == "eos" for text in texts if text.eos_id is not None} == {True}
    assert {text.eos_id is None for text in texts if text.pool == "eos"} == {False}
    same = next(tower for tower in found if "nllb-clip-base" in tower.models)
    assert {"ViT-B-32", "xlm-roberta-base-ViT-B-32"} <= set(same.models)


def test_each_stored_row_is_of_a_tower_that_there_is() -> None:
    there = {(tower.encoder, tower.name): tower for tower in towers(read_table())}
    rows = {
        (encoder, name): row
        for encoder, some in read(MEASURED).items()
        for name, row in some.items()
    }
    for key, row in rows.items():
        assert row["models"] == sorted(there[key].models)
        assert there[key].work <= MAX_WORK


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_later_run_measures_only_the_towers_that_lack_a_row(tmp_path: Path) -> None:
    path = tmp_path / "measured.json"
    defaults = {tower.encoder: tower for tower in TOWERS}
    fill(TOWERS[:1], defaults, path)
    first = json.loads(path.read_text())
    assert list(first["image"]) == ["small"] and not first["text"]
    fill(TOWERS, defaults, path)
    both = json.loads(path.read_text())
    assert both["image"] == first["image"]
    for row in (both["image"]["small"], both["text"]["small"]):
        for precision in precisions():
            figures = row[precision.name]
            assert figures["times"] == pytest.approx(1, abs=0.8)
            assert figures["ms"] > 0 and figures["load_s"] > 0
        assert row["int8"]["bytes"] < row["int14"]["bytes"] < row["fp32"]["bytes"]


def test_no_two_weights_are_equal_since_onnx_runtime_would_keep_one() -> None:
    weights = Tiled(small_architecture().shapes())
    kernels = [weights[f"transformer.resblocks.{i}.mlp.c_fc.weight"] for i in range(4)]
    assert len({kernel.tobytes() for kernel in kernels}) == 4
    assert kernels[0].std() == pytest.approx(128**-0.5, rel=0.02)
    table = weights["token_embedding.weight"]
    assert len({row.tobytes() for row in table}) == len(table)


def test_hard_weights_of_a_traced_tower_have_channels_that_the_product_takes_back() -> None:
    listed = Architecture.model_validate(read_table()["architectures"]["PE-Core-T-16-384"])
    hard = unfriendly(listed)
    easy = plain(listed)
    for norm, reader in (("norm1", "attn.qkv"), ("norm2", "mlp.fc1")):
        block = "visual.trunk.blocks.0"
        large = hard[f"{block}.{norm}.weight"] == 15 * easy[f"{block}.{norm}.weight"]
        assert 0 < large.sum() < 4
        columns = np.abs(hard[f"{block}.{reader}.weight"]).mean(0)
        assert columns[large].max() < 0.2 * columns[~large].min()
    kernel = hard["visual.trunk.patch_embed.proj.weight"].reshape(192, -1).mean(1)
    assert (np.abs(kernel) > 20 * np.median(np.abs(kernel))).sum() == 2
