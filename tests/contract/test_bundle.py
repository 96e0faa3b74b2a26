import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from classifier.contract.bundle import (
    FILES,
    FORMAT,
    MANIFEST,
    BundleError,
    BundleManifest,
    read_manifest,
)
from tests.support.requests import DEMO


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    shutil.copytree(DEMO, tmp_path, dirs_exist_ok=True)
    return tmp_path


def rewrite(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((bundle / MANIFEST).read_bytes())
    change(manifest)
    (bundle / MANIFEST).write_text(json.dumps(manifest))


def error(bundle: Path, *, verify_hashes: bool = False) -> str:
    with pytest.raises(BundleError) as caught:
        read_manifest(bundle, verify_hashes=verify_hashes)
    return str(caught.value)


def test_the_demo_bundle_is_read_and_its_hashes_agree() -> None:
    manifest = read_manifest(DEMO, verify_hashes=True)
    assert (manifest.format, manifest.name, set(manifest.files)) == (FORMAT, "demo", set(FILES))


def test_a_pretrained_tag_is_part_of_the_name() -> None:
    manifest = read_manifest(DEMO, verify_hashes=False).model_copy(
        update={"model": "ViT-B-32", "pretrained": "openai"}
    )
    assert manifest.name == "ViT-B-32/openai"


def test_a_bundle_whose_precision_is_no_longer_made_still_loads(bundle: Path) -> None:
    rewrite(bundle, lambda manifest: manifest["precision"].update(image="mixed"))
    assert read_manifest(bundle, verify_hashes=False).precision["image"] == "mixed"


@pytest.mark.parametrize("version", [FORMAT - 1, FORMAT + 1])
def test_a_bundle_of_another_format_is_refused_with_the_command_that_makes_it_again(
    bundle: Path, version: int
) -> None:
    names = {"model": "ViT-L-14", "pretrained": "it's é", "format": version, "shape": "unknown"}
    rewrite(bundle, lambda manifest: manifest.update(names))
    message = error(bundle)
    assert f"format {version}, this program reads {FORMAT}; make the bundle again with: " in message
    assert message.endswith("""make model MODEL=ViT-L-14 PRETRAINED='it'"'"'s \\xe9'""")
    (bundle / MANIFEST).write_text("[" * 100_000)
    assert error(bundle).endswith("make model MODEL=... PRETRAINED=...")


@pytest.mark.parametrize("name", [MANIFEST, *FILES])
def test_a_missing_file_is_named_with_the_command_that_makes_it(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    assert re.search(rf"{re.escape(name)} is missing; .*make model", error(bundle))


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_size_is_refused_without_reading_it(bundle: Path, name: str) -> None:
    with (bundle / name).open("ab") as file:
        file.write(b"!")
    assert re.search(
        rf"{re.escape(name)} has \d+ bytes instead of \d+; .*make model", error(bundle)
    )


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_is_found_if_hashes_are_verified(bundle: Path, name: str) -> None:
    data = bytearray((bundle / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / name).write_bytes(data)
    read_manifest(bundle, verify_hashes=False)
    assert re.search(
        rf"{re.escape(name)}.*sha256 differs.*make model", error(bundle, verify_hashes=True)
    )


@pytest.mark.parametrize("field", BundleManifest.model_fields)
def test_a_manifest_without_one_of_its_fields_is_refused(bundle: Path, field: str) -> None:
    rewrite(bundle, lambda manifest: manifest.pop(field))
    assert re.search(rf"{field}.*make model", error(bundle))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda manifest: manifest.update(format=FORMAT - 1),
            f"has format {FORMAT - 1}, this program reads {FORMAT}",
        ),
        (lambda manifest: manifest.update(unknown=1), "unknown"),
        (lambda manifest: manifest["image"].update(max_batch=0), "max_batch"),
        (lambda manifest: manifest["files"].pop("text.onnx"), "text.onnx is missing"),
    ],
    ids=["older format", "unknown field", "no batch", "file not described"],
)
def test_a_manifest_that_this_program_cannot_use_is_refused(
    bundle: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    rewrite(bundle, change)
    assert message in error(bundle)
    assert "make model" in error(bundle)


def test_a_manifest_that_is_not_json_is_refused(bundle: Path) -> None:
    (bundle / MANIFEST).write_text("not JSON")
    assert "can't be read" in error(bundle)


def test_a_file_in_place_of_the_folder_is_refused() -> None:
    assert "name a bundle's folder" in error(DEMO / MANIFEST)
