import json
import re
import shutil
from pathlib import Path

import pytest

from stacks.bundle import Bundle
from stacks.settings import Settings, SettingsError
from tests.support.requests import DEMO, ROOT

# as cdk.json or the command line has it, and what it means
TAKEN = [
    ("name", "clip-staging", "clip-staging"),
    ("architecture", "x86_64", "x86_64"),
    ("memory", "4096", 4096),
    ("memory", 10240, 10240),
    ("timeout", "5", 5),
    ("authentication", "none", "none"),
    ("throttle_rate", "0.5", 0.5),
    ("throttle_burst", 5000, 5000),
    ("reserved_concurrency", "3", 3),
    ("reserved_concurrency", "none", None),
    ("provisioned_concurrency", "", None),
    ("provisioned_concurrency", 2, 2),
    ("cors_origin", "https://example.org:8443", "https://example.org:8443"),
    ("log_retention", "365", 365),
    ("log_retention", 1, 1),
    ("alarm_email", "ops@example.org", "ops@example.org"),
    ("alarm_email", "none", None),
    ("playground", "true", True),
    ("playground", False, False),
    ("memory", None, 3008),
]
REFUSED = [
    ("name", "9lives"),
    ("name", "clip classifier"),
    ("architecture", "arm"),
    ("memory", 1023),
    ("memory", "10241"),
    ("memory", "3 GB"),
    ("timeout", 29),
    ("authentication", "key"),
    ("throttle_rate", "0"),
    ("throttle_burst", "2.5"),
    ("reserved_concurrency", 0),
    ("provisioned_concurrency", "-1"),
    ("cors_origin", "https://example.org/"),
    ("cors_origin", "a.org, b.org"),
    ("cors_origin", "https://example.org'"),
    ("log_retention", "31"),
    ("alarm_email", "ops"),
    ("playground", "perhaps"),
]


@pytest.mark.parametrize(("key", "given", "meant"), TAKEN)
def test_a_setting_is_taken_from_text_and_from_json(key: str, given: object, meant: object) -> None:
    assert getattr(Settings.read({key: given}), key) == meant


@pytest.mark.parametrize(("key", "given"), REFUSED)
def test_a_wrong_setting_is_refused_with_its_key_its_value_and_what_is_allowed(key: str, given: object) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.read({key: given})
    assert str(refused.value) == f"{key}={given} is not allowed. Allowed: {Settings.model_fields[key].description}."


def test_a_misspelt_setting_is_refused_with_the_right_spelling() -> None:
    with pytest.raises(SettingsError, match=r"^memroy=4096 is no setting\. Did you mean memory\?$"):
        Settings.read({"memroy": 4096})
    with pytest.raises(SettingsError, match=r"^colour=red is no setting\. There are: name, bundle, "):
        Settings.read({"colour": "red"})


def test_keys_of_the_cdk_itself_are_left_alone() -> None:
    theirs = {"@aws-cdk/aws-iam:minimizePolicies": True, "aws:cdk:enable-asset-metadata": True, "cli-telemetry": False}
    assert Settings.read(theirs) == Settings()


def test_no_more_environments_are_kept_warm_than_are_reserved() -> None:
    assert Settings.read({"reserved_concurrency": 2, "provisioned_concurrency": "2"}).provisioned_concurrency == 2
    with pytest.raises(SettingsError, match=r"^provisioned_concurrency=3 is more than reserved_concurrency=2; at most"):
        Settings.read({"reserved_concurrency": 2, "provisioned_concurrency": "3"})


def test_cdk_json_holds_every_setting_with_its_default() -> None:
    context = json.loads((ROOT / "cdk.json").read_text(encoding="utf-8"))["context"]
    assert Settings.read(context) == Settings()
    assert {key for key in context if "@" not in key} == set(Settings.model_fields) - {"synth_only"}


def test_the_readme_has_every_setting_with_its_default_and_what_is_allowed() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `([^`]*)` \| (.*) \|$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    shown = {None: "none", True: "true", False: "false"}
    fields = Settings.model_fields.items()
    assert rows == [(key, str(shown.get(field.default, field.default)), field.description) for key, field in fields]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with the demo's files as a bundle of a real model, models/real."""
    shutil.copytree(DEMO, tmp_path / "models" / "real")
    described(tmp_path, model="ViT-B-32")
    return tmp_path


def described(root: Path, **changes: object) -> None:
    path = root / "models" / "real" / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def read(root: Path, path: str = "models/real", **settings: object) -> Bundle:
    return Bundle.read(root, Settings.read({"bundle": path, **settings}))


def refusal(root: Path, path: str = "models/real") -> str:
    with pytest.raises(SettingsError) as refused:
        read(root, path)
    assert str(refused.value).startswith(f"bundle={path}")
    return str(refused.value)


def test_a_bundle_is_its_path_from_the_root_and_its_own_files(root: Path) -> None:
    assert read(root, "models/../models/real/") == Bundle(
        "models/real",
        ("models/real/bundle.json", "models/real/image.onnx", "models/real/text.onnx", "models/real/tokenizer.json"),
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
def test_a_bundle_outside_the_repository_or_with_a_pattern_for_a_name_is_refused(root: Path, path: str) -> None:
    assert "a folder in this repository" in refusal(root, path)


def test_a_bundle_with_changed_bytes_of_the_same_length_is_refused(root: Path) -> None:
    file = root / "models" / "real" / "tokenizer.json"
    file.write_bytes(file.read_bytes()[:-1] + b" ")
    assert "tokenizer.json is not the file that bundle.json describes" in refusal(root)


@pytest.mark.parametrize(("text", "said"), [("{", "can't be read"), ("[]", "can't be read"), ('{"format": 3}', "can't be read")])
def test_a_bundle_that_cannot_be_read_is_refused(root: Path, text: str, said: str) -> None:
    (root / "models" / "real" / "bundle.json").write_text(text, encoding="utf-8")
    assert said in refusal(root)


def test_a_bundle_of_another_format_is_refused(root: Path) -> None:
    described(root, format=2)
    assert "has format 2, this program reads 3" in refusal(root)
