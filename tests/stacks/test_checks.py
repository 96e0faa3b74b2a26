import functools
import json
import re

import pytest
from cfnlint.config import ConfigMixIn
from cfnlint.decode.decode import decode_str
from cfnlint.runner import Runner

from tests.support.requests import ROOT
from tests.support.stacks import COMBINATIONS, EVERYTHING
from tests.support.synthesis import Synth


def test_two_deployments_differ_in_their_names_and_share_nothing(synth: Synth) -> None:
    made = synth(name="clip-staging")
    assert (made.folder / "clip-staging.template.json").exists()
    assert made.one("ApiGateway::RestApi")["Name"] == "clip-staging"
    assert "clip-classifier" not in json.dumps(made.all("CloudWatch::Alarm"))
    fixed = re.compile(r"^(Function|Role|LogGroup|Dashboard|Alarm|Topic|UsagePlan)Name$")
    for resource in synth(**EVERYTHING).template["Resources"].values():
        properties = resource.get("Properties", {})
        assert not [
            key for key, value in properties.items() if fixed.match(key) and isinstance(value, str)
        ], resource


@pytest.mark.parametrize("settings", COMBINATIONS.values(), ids=COMBINATIONS)
def test_cdk_nag_finds_nothing_that_is_not_explained(
    synth: Synth, settings: dict[str, str]
) -> None:
    report = synth(**settings).report
    assert {plugin["pluginName"] for plugin in report} == {"AwsSolutions", "Serverless"}
    for plugin in report:
        assert (plugin["conclusion"], plugin["violations"]) == ("success", [])
        for explained in plugin["suppressedViolations"]:
            assert len(explained["reason"].split()) > 4, explained


@functools.cache
def linter() -> Runner:
    """Made once, since it reads its rules in longer than it lints a template. W3005 is about a
    dependency that CDK itself writes twice.
    """
    return Runner(ConfigMixIn(ignore_checks=["W3005"], regions=["eu-central-1"]))


def lint(text: str) -> list[str]:
    """cfn-lint's errors and warnings."""
    template, errors = decode_str(text)
    return [str(match) for match in errors or linter().validate_template(template)]


def test_cfn_lint_is_asked() -> None:
    assert lint('{"Resources": {"Topic": {"Type": "AWS::SNS::Topic", "Properties": {"A": 1}}}}')


@pytest.mark.parametrize("settings", COMBINATIONS.values(), ids=COMBINATIONS)
def test_cfn_lint_finds_nothing(synth: Synth, settings: dict[str, str]) -> None:
    assert lint(json.dumps(synth(**settings).template)) == []


def test_the_account_s_role_for_logs_outlives_every_stack_and_is_in_none(synth: Synth) -> None:
    template = (ROOT / "stacks" / "logging_role.yaml").read_text(encoding="utf-8")
    assert lint(template) == []
    assert template.count("DeletionPolicy: RetainExceptOnCreate") == 2
    assert not synth(**EVERYTHING).all("ApiGateway::Account")
