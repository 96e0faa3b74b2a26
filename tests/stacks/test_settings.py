import re

import pytest

from stacks.settings.deployment import Settings
from stacks.settings.errors import SettingsError
from tests.support.requests import ROOT
from tests.support.stacks import KEY, TOPIC

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
    ("cors_origin", "*", ("*",)),
    ("cors_origin", "https://example.org:8443", ("https://example.org:8443",)),
    ("cors_origin", "https://a.org, http://b.org", ("https://a.org", "http://b.org")),
    ("log_retention", "365", 365),
    ("log_retention", 1, 1),
    ("alarm_email", "ops@example.org", "ops@example.org"),
    ("alarm_email", "none", None),
    ("alarm_topic", TOPIC, TOPIC),
    ("log_key", KEY, KEY),
    ("playground", "true", True),
    ("playground", False, False),
    ("heic", "true", True),
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
    ("cors_origin", "*,https://example.org"),
    ("cors_origin", "https://*.example.org"),
    ("cors_origin", ""),
    ("cors_origin", "https://example.org'"),
    ("log_retention", "31"),
    ("alarm_email", "ops"),
    ("alarm_topic", "ops"),
    ("log_key", "alias/logs"),
    ("alarm_topic", f"{TOPIC}.fifo"),
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


@pytest.mark.parametrize(
    "values",
    [DOMAIN, {"alarm_topic": TOPIC}, {"log_key": KEY}, {"bulk_bucket": "our", "bulk_key": KEY}],
    ids=lambda values: next(iter(values)),
)
def test_what_is_in_another_region_is_refused_with_both_regions(values: dict[str, str]) -> None:
    settings(**values).check_region("eu-central-1")
    match = r"is in eu-central-1, and the deployment goes to us-east-1\..*AWS_REGION=eu-central-1"
    with pytest.raises(SettingsError, match=match):
        settings(**values).check_region("us-east-1")
    settings().check_region("us-east-1")


def test_the_bundle_has_no_default() -> None:
    with pytest.raises(SettingsError, match=r"^bundle is not set\. Allowed: the model: a folder"):
        Settings.read({})


def test_no_more_environments_are_kept_warm_than_are_reserved() -> None:
    assert (
        settings(reserved_concurrency=2, provisioned_concurrency="2").provisioned_concurrency == 2
    )
    message = refused({"reserved_concurrency": 2, "provisioned_concurrency": "3"})
    assert message.startswith(
        "provisioned_concurrency=3 is more than reserved_concurrency=2; at most"
    )


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
