import difflib
import json
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from classifier.contract.bundle import FILES, FORMAT, MANIFEST
from stacks.bundle import Bundle
from stacks.settings import Settings, SettingsError
from tests.support.requests import DEMO, ROOT

# The only setting without a default.
BUNDLE = {"bundle": "models/demo"}
CERTIFICATE = (
    "arn:aws:acm:eu-central-1:123456789012:certificate/0a1b2c3d-0000-4444-8888-aabbccddeeff"
)
DOMAIN = {"domain": "clip.example.org", "certificate": CERTIFICATE, "hosted_zone": "Z0123456789ABC"}
DIGEST = "sha256:" + "0123456789abcdef" * 4
# Key, the value in cdk.json or on the command line, the setting.
ACCEPTED = [
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
    ("authentication", "iam", "iam"),
    (
        "base_image",
        f"public.ecr.aws/lambda/python:3.13@{DIGEST}",
        f"public.ecr.aws/lambda/python:3.13@{DIGEST}",
    ),
    (
        "base_image",
        "123456789012.dkr.ecr.eu-central-1.amazonaws.com/python:3.13",
        "123456789012.dkr.ecr.eu-central-1.amazonaws.com/python:3.13",
    ),
    ("allowed_ips", "203.0.113.0/24, 2001:db8::/32", ("203.0.113.0/24", "2001:db8::/32")),
    ("allowed_ips", ["198.51.100.7"], ("198.51.100.7/32",)),
    ("allowed_ips", "none", None),
    ("vpc_endpoint", "vpce-0123456789abcdef0", "vpce-0123456789abcdef0"),
    ("quota", "100000", 100000),
    ("quota", "none", None),
    ("slow_ms", "1000", 1000),
    ("domain", "none", None),
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
    ("base_image", "python"),
    ("base_image", "public.ecr.aws/lambda/python:3.13@sha256:12"),
    ("base_image", "public.ecr.aws/lambda/python:3.13 --push"),
    ("allowed_ips", "203.0.113.7/24"),
    ("allowed_ips", "203.0.113.0/33"),
    ("allowed_ips", "203.0.113.0/24,"),
    ("allowed_ips", "example.org"),
    ("allowed_ips", ",".join(["203.0.113.0/24"] * 101)),
    ("vpc_endpoint", "vpc-0123456789abcdef0"),
    ("quota", "0"),
    ("quota", "many"),
    ("slow_ms", 0),
    ("slow_ms", 29001),
    ("domain", "https://clip.example.org"),
    ("domain", "clip"),
    ("certificate", "arn:aws:acm:eu-central-1:1:certificate/x"),
    ("certificate", "arn:aws:iam::123456789012:server-certificate/x"),
    ("hosted_zone", "example.org"),
]
IMPOSSIBLE = [
    (
        {"quota": 5, "authentication": "none"},
        "quota=5 counts the calls of an API key, and authentication=none has none.",
    ),
    (
        {"quota": 5, "authentication": "iam"},
        "quota=5 counts the calls of an API key, and authentication=iam has none.",
    ),
    (
        {**DOMAIN, "vpc_endpoint": "vpce-01234567"},
        "vpc_endpoint=vpce-01234567 makes the API private, and domain=clip.example.org is",
    ),
    (
        {"allowed_ips": "10.0.0.0/8", "vpc_endpoint": "vpce-01234567"},
        "vpc_endpoint=vpce-01234567 makes the API private: callers then",
    ),
    (
        {"playground": True, "authentication": "iam"},
        "playground=true is a page for browsers, which can't sign requests",
    ),
    *(
        (
            {key: value for key, value in DOMAIN.items() if key in names},
            f"{names[0]}={DOMAIN[names[0]]} also needs {rest}: set all",
        )
        for names, rest in [
            (("domain",), "certificate and hosted_zone"),
            (("certificate",), "domain and hosted_zone"),
            (("hosted_zone",), "domain and certificate"),
            (("domain", "certificate"), "hosted_zone"),
            (("certificate", "hosted_zone"), "domain"),
        ]
    ),
]


def settings(**values: object) -> Settings:
    return Settings.read(BUNDLE | values)


def refused(values: dict[str, object]) -> str:
    with pytest.raises(SettingsError) as raised:
        settings(**values)
    return str(raised.value)


@pytest.mark.parametrize(("key", "value", "expected"), ACCEPTED)
def test_a_setting_is_read_from_text_and_from_json(
    key: str, value: object, expected: object
) -> None:
    assert getattr(settings(**{key: value}), key) == expected


@pytest.mark.parametrize(("key", "value"), REFUSED)
def test_a_wrong_setting_is_refused_with_its_key_its_value_and_what_is_allowed(
    key: str, value: object
) -> None:
    assert (
        refused({key: value})
        == f"{key}={value} is not allowed. Allowed: {Settings.model_fields[key].description}."
    )


@pytest.mark.parametrize(
    ("values", "reason"),
    IMPOSSIBLE,
    ids=lambda value: None if isinstance(value, dict) else value[:40],
)
def test_settings_that_contradict_each_other_are_refused_with_the_reason(
    values: dict[str, object], reason: str
) -> None:
    assert refused(values).startswith(reason)


def test_a_certificate_of_another_region_is_refused_with_both_regions() -> None:
    settings(**DOMAIN).check_region("eu-central-1")
    with pytest.raises(
        SettingsError,
        match=(
            r"is in eu-central-1, and the deployment goes to us-east-1\..*AWS_REGION=eu-central-1"
        ),
    ):
        settings(**DOMAIN).check_region("us-east-1")
    settings().check_region("us-east-1")


def test_the_bundle_has_no_default() -> None:
    with pytest.raises(SettingsError, match=r"^bundle is not set\. Allowed: the model: a folder"):
        Settings.read({})


@given(name=st.sampled_from([*Settings.model_fields]), data=st.data())
def test_a_setting_with_one_wrong_letter_is_refused_with_the_right_spelling(
    name: str, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(name) - 1))
    letters = "abcdefghijklmnopqrstuvwxyz" if len(name) > 5 else ""
    misspelt = (
        name[:place]
        + data.draw(st.sampled_from(["", name[place] * 2, name[place].upper(), *letters]))
        + name[place + 1 :]
    )
    assume(misspelt not in Settings.model_fields)
    assume(difflib.SequenceMatcher(None, misspelt, name).ratio() >= 0.8)
    assert refused({misspelt: 1}).startswith(f"{misspelt}=1 is no setting. Did you mean ")


def test_misspelt_settings_are_refused_with_the_right_spelling() -> None:
    assert refused({"memroy": 4096}) == "memroy=4096 is no setting. Did you mean memory?"
    assert refused({"reserved-concurrency": 1}).endswith("Did you mean reserved_concurrency?")


def test_context_of_others_gets_a_warning_and_changes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert settings(vpcId="vpc-1", team="search", colour="red") == settings()
    assert [record.getMessage().split()[0] for record in caplog.records] == [
        "vpcId",
        "team",
        "colour",
    ]


def test_keys_of_the_cdk_itself_pass_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    # The last one is what `cdk acknowledge 30000` writes.
    keys = {
        "@aws-cdk/aws-iam:minimizePolicies": True,
        "aws:cdk:enable-asset-metadata": True,
        "cli-telemetry": False,
    }
    assert settings(**keys, **{"acknowledged-issue-numbers": [30000]}) == settings()
    assert not caplog.records


def test_no_more_environments_are_kept_warm_than_are_reserved() -> None:
    assert (
        settings(reserved_concurrency=2, provisioned_concurrency="2").provisioned_concurrency == 2
    )
    message = refused({"reserved_concurrency": 2, "provisioned_concurrency": "3"})
    assert message.startswith(
        "provisioned_concurrency=3 is more than reserved_concurrency=2; at most"
    )


def test_cdk_json_holds_the_cdks_own_keys_and_what_has_no_default() -> None:
    context = json.loads((ROOT / "cdk.json").read_text(encoding="utf-8"))["context"]
    required = {key for key, field in Settings.model_fields.items() if field.is_required()}
    assert {key for key in context if "@" not in key} - {"base_image"} == required == {"bundle"}
    assert Settings.read(context).name == "clip-classifier"


def test_the_deployment_guide_has_every_setting_with_its_default_and_what_is_allowed() -> None:
    guide = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (?:`([^`]*)`|) \| (.*) \|$", guide, re.MULTILINE)
    texts = {None: "none", True: "true", False: "false"}
    defaults = {
        key: "" if field.is_required() else str(texts.get(field.default, field.default))
        for key, field in Settings.model_fields.items()
    }
    assert rows == [
        (key, defaults[key], field.description) for key, field in Settings.model_fields.items()
    ]


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
    return Bundle.read(root, Settings.read({"bundle": path, **values}))


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
    file = root / "models" / "real" / "merges.bin"
    file.write_bytes(file.read_bytes()[:-1] + b" ")
    assert "merges.bin is not the file that bundle.json describes" in refusal(root)


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
