"""What is refused before anything is made, and where a bundle is put."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from classifier.contract.bundle import Weights
from dev.benchmark.ladder import SETTINGS
from dev.weights import plain, small_architecture
from export.errors import ExportError
from export.graphs.towers import write_encoder
from export.judging.checks import check_memory, memory_here
from export.output import REPLACEABLE, check_output, swap
from export.pipeline import describe
from export.sources.architecture import Architecture
from export.sources.source import NeedsTorchError, Request, Source, load, read_table


def files(folder: Path, names: set[str]) -> Path:
    folder.mkdir()
    for name in names:
        (folder / name).write_text(name)
    return folder


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"holiday.jpg"}, "not a bundle alone .holiday.jpg"),
        ({"README.md"}, r"no bundle\.json"),
        (REPLACEABLE | {"notes.txt"}, r"not a bundle alone .notes\.txt"),
    ],
)
def test_a_folder_with_anything_but_a_bundle_is_refused_and_kept(
    names: set[str], message: str, tmp_path: Path
) -> None:
    folder = files(tmp_path / "folder", names)
    with pytest.raises(ExportError, match=message):
        check_output(folder)
    assert {path.name for path in folder.iterdir()} == names


def test_the_current_folder_what_is_above_it_and_a_file_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = files(tmp_path / "bundle", REPLACEABLE)
    monkeypatch.chdir(folder)
    for output in (folder, tmp_path):
        with pytest.raises(ExportError, match="is the current folder or above it"):
            check_output(output)
    monkeypatch.chdir(tmp_path)
    check_output(folder)
    with pytest.raises(ExportError, match="not a bundle alone"):
        check_output(folder / "bundle.json")


@pytest.mark.parametrize(
    ("bias", "scoring"),
    [({}, "softmax"), ({"logit_bias": np.array([-9.5], np.float32)}, "sigmoid")],
)
def test_a_model_trained_with_a_sigmoid_keeps_its_bias(
    bias: dict[str, Any], scoring: str, tmp_path: Path
) -> None:
    architecture = small_architecture()
    source = Source(
        "ViT-B-32-quickgelu",
        architecture,
        {**plain(architecture), **bias},
        SETTINGS,
        Weights(source="w.pt", revision=None, sha256="0" * 64),
        "mit",
    )
    write_encoder(source, "image", "fp32", tmp_path)
    manifest = describe(source, "mine", tmp_path)
    assert manifest.scoring == scoring
    assert manifest.logit_bias == (-9.5 if bias else None)


def test_a_new_folder_an_empty_one_and_a_bundle_are_taken(tmp_path: Path) -> None:
    check_output(tmp_path / "new")
    check_output(files(tmp_path / "empty", set()))
    check_output(files(tmp_path / "bundle", REPLACEABLE))


def test_a_bundle_is_replaced_by_renaming_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    old = files(tmp_path / "bundle", REPLACEABLE)
    new = files(tmp_path / ".bundle-new", {"bundle.json"})
    swap(new, old)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    assert [path.name for path in old.iterdir()] == ["bundle.json"]


def test_a_swap_that_fails_keeps_the_old_bundle(tmp_path: Path) -> None:
    old = files(tmp_path / "bundle", REPLACEABLE)
    with pytest.raises(OSError, match="No such file"):
        swap(tmp_path / ".bundle-gone", old)
    assert {path.name for path in old.iterdir()} == REPLACEABLE


def test_a_tilde_in_a_path_is_the_home_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "weights.pt").write_bytes(b"no weights")
    with pytest.raises(
        ExportError, match=r"The weights don't fit ViT-B-32-quickgelu: weights\.pt is neither"
    ):
        load(Request("ViT-B-32-quickgelu", "~/weights.pt", "openai"), print)


@pytest.mark.parametrize(
    ("model", "pretrained", "message"),
    [
        (
            "ViT-B-23",
            "openai",
            "no model of open_clip .* there are .*ViT-B-32.* `make models` lists",
        ),
        ("ViT-B-32", "opnai", "neither a file nor a tag of ViT-B-32; its tags: openai, "),
        ("coca_roberta-ViT-B-32", "laion2b_s13b_b90k", "one of Hugging Face"),
        ("roberta-ViT-B-32", "laion2b_s12b_b32k", "open_clip contradicts itself"),
    ],
)
def test_a_name_that_cannot_be_made_is_refused_before_torch_is_installed(
    model: str, pretrained: str, message: str
) -> None:
    with pytest.raises(ExportError, match=message) as refused:
        load(Request(model, pretrained), print)
    assert not isinstance(refused.value, NeedsTorchError)


def test_only_a_model_without_a_tag_asks_for_torch() -> None:
    with pytest.raises(NeedsTorchError):
        load(Request("convnext_tiny", "weights.pt"), print)


def test_a_model_is_refused_if_the_machine_has_too_little_memory_for_its_export() -> None:
    architecture = Architecture.model_validate(read_table()["architectures"]["ViT-bigG-14"])
    check_memory("ViT-bigG-14", architecture.shapes(), memory=12_000_000_000)
    for memory, copies, needed in ((11_000_000_000, 1, 11.7), (20_000_000_000, 2, 21.8)):
        with pytest.raises(
            ExportError, match=rf"needs about {needed} GB .* machine has {memory / 1e9} GB"
        ):
            check_memory("ViT-bigG-14", architecture.shapes(), copies=copies, memory=memory)


@pytest.mark.parametrize(("limit", "counts"), [("1000000", True), ("max", False), (2**63, False)])
def test_a_containers_limit_counts_as_its_memory(
    limit: str | int, counts: bool, tmp_path: Path
) -> None:
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    expected = 1_000_000 if counts else memory_here([])
    assert memory_here([tmp_path / "missing", tmp_path / "memory.max"]) == expected
