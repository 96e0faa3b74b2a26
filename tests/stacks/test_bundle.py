import base64
import json
import re
import shutil
from pathlib import Path

import pytest

from classifier.contract.bundle import FILES, FORMAT, MANIFEST, read_manifest
from classifier.contract.classifiers.fit import fitted_on
from classifier.contract.request.label_spec import LabelSpec
from classifier.engine.check import check_prompts
from stacks.bundle import Bundle
from stacks.settings.deployment import Settings
from stacks.settings.errors import SettingsError
from tests.support.requests import DEMO, ROOT


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with the demo's files as a bundle of a real model, models/real."""
    shutil.copytree(DEMO, tmp_path / "models" / "real")
    described(tmp_path, model="ViT-B-32")
    return tmp_path


def described(root: Path, **changes: object) -> None:
    path = root / "models" / "real" / "bundle.json"
    path.write_text(
        json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8"
    )


def read(root: Path, path: str = "models/real", **values: object) -> Bundle:
    return Bundle.read(root, Settings.read({"bundle": path, **values}), check_prompts)


def refusal(root: Path, path: str = "models/real") -> str:
    with pytest.raises(SettingsError) as raised:
        read(root, path)
    assert str(raised.value).startswith(f"bundle={path}")
    return str(raised.value)


def test_a_bundle_is_its_path_from_the_root_and_its_own_files(root: Path) -> None:
    assert read(root, "models/../models/real/") == Bundle(
        "models/real",
        tuple(f"models/real/{name}" for name in (MANIFEST, *FILES)),
    )
    assert read(root, str(root / "models" / "real")).path == "models/real"


def test_the_demo_bundle_is_refused_unless_only_the_template_is_wanted() -> None:
    assert "make synth" in refusal(ROOT, "models/demo")
    assert read(ROOT, "models/demo", synth_only="true").path == "models/demo"


def test_a_bundle_that_is_not_there_is_refused_with_what_to_run(root: Path) -> None:
    assert "make model MODEL=... PRETRAINED=..." in refusal(root, "models/other")
    (root / "models" / "real" / "text.onnx").unlink()
    assert "text.onnx is missing; make the bundle again with: make model" in refusal(root)


@pytest.mark.parametrize("path", ["..", "/tmp", "models/real*", "models/real\nx", ""])
def test_a_bundle_outside_the_repository_or_with_a_pattern_for_a_name_is_refused(
    root: Path, path: str
) -> None:
    assert "a folder in this repository" in refusal(root, path)


def test_a_bundle_with_changed_bytes_of_the_same_length_is_refused(root: Path) -> None:
    file = root / "models" / "real" / "tokenizer.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b" ")
    assert "tokenizer.safetensors is not the file that bundle.json describes" in refusal(root)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "can't be read"), ("[]", "can't be read"), (f'{{"format": {FORMAT}}}', "can't be read")],
)
def test_a_bundle_that_cannot_be_read_is_refused(root: Path, text: str, message: str) -> None:
    (root / "models" / "real" / "bundle.json").write_text(text, encoding="utf-8")
    assert message in refusal(root)


def test_a_bundle_of_another_format_is_refused(root: Path) -> None:
    described(root, format=2)
    assert f"has format 2, this program reads {FORMAT}" in refusal(root)


def test_a_bundle_says_what_its_function_is_too_small_for(root: Path) -> None:
    assert read(root).doubts == ()
    image = read_manifest(root / "models" / "real", verify_hashes=False).image
    described(root, image=image.model_dump() | {"size": 20_000})
    [message] = read(root).doubts
    assert re.match(r"ViT-B-32 takes about \d+ s an image on 1.7 vCPUs", message)


@pytest.fixture
def classifiers(root: Path) -> Path:
    """Two classifiers, of which the second was fitted on another model."""
    folder = root / "classifiers"
    folder.mkdir()
    (folder / "pets.json").write_text('{"labels": ["a cat", "a dog"]}', encoding="utf-8")
    stale = {"model": "other", "fingerprint": "0" * 64, "question": "0" * 64}
    (folder / "stale.json").write_text(
        json.dumps({"labels": ["a cat", "a dog"], "fitted_on": stale}), encoding="utf-8"
    )
    return folder


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("pets", ("pets",)),
        ("pets, pets2", ("pets", "pets2")),
        ("none", ()),
        ("", ()),
        (["pets"], ("pets",)),
        ("all", "all"),
    ],
)
def test_classifiers_are_named_with_commas_or_all_or_none(given: object, names: object) -> None:
    assert Settings.read({"bundle": "models/real", "classifiers": given}).classifiers == names


@pytest.mark.parametrize("given", ["Pets", "pets.json", "../pets", "pets;dogs", "-", "a" * 65])
def test_what_is_no_classifiers_name_is_refused(given: str) -> None:
    with pytest.raises(SettingsError, match="classifiers="):
        Settings.read({"bundle": "models/real", "classifiers": given})


def test_an_image_knows_that_all_its_classifiers_are_learned(root: Path, classifiers: Path) -> None:
    assert not read(root, classifiers="none").all_learned
    assert not read(root, classifiers="pets").all_learned
    manifest = read_manifest(root / "models" / "real", verify_hashes=False)
    question = {"labels": ["a dog", "a cat"]}
    on = fitted_on(manifest, LabelSpec.model_validate(question)).model_dump()
    head = {"vectors": base64.b64encode(bytes(8 * manifest.dimension)).decode(), "scale": 1.0}
    file = question | {"head": head, "fitted_on": on}
    (classifiers / "learned.json").write_text(json.dumps(file), encoding="utf-8")
    assert read(root, classifiers="learned").all_learned
    assert not read(root, classifiers="learned,pets").all_learned


def test_the_classifiers_that_the_setting_names_are_checked_and_deployed(
    root: Path, classifiers: Path
) -> None:
    assert read(root, classifiers="pets").classifiers == ("classifiers/pets.json",)
    assert read(root, classifiers="none").classifiers == ()
    for asked, message in (
        ("pets,stale", "fit it again: make evaluate"),
        ("pets,dogs", "dogs.json is missing"),
    ):
        with pytest.raises(SettingsError, match=f"^classifiers={asked}: .*{message}"):
            read(root, classifiers=asked)
    bundle = read(root)
    assert bundle.classifiers == ("classifiers/pets.json",)
    [message] = bundle.left_out
    assert "stale.json was fitted on other" in message


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["dog " * 76, "a cat"], "labels.0|76 tokens"),
        (["A  Cat", "a cat"], "the same to the model"),
        (["<end_of_text>", "a cat"], "reserves"),
    ],
)
def test_a_label_that_the_model_cannot_read_is_found_before_anything_is_built(
    root: Path, classifiers: Path, labels: list[str], message: str
) -> None:
    (classifiers / "long.json").write_text(json.dumps({"labels": labels}), encoding="utf-8")
    with pytest.raises(
        SettingsError, match=f"^classifiers=long: classifiers/long.json: .*({message})"
    ):
        read(root, classifiers="long")
