import json
import re
from pathlib import Path

import pytest

from stacks.settings.access import KeyLimits
from stacks.settings.deployment import Settings
from stacks.settings.errors import SettingsError
from tests.support.requests import ROOT
from tests.support.stacks import app, responses
from tests.support.synthesis import Synth, Synthesized, read_settings

NAMED = {"default": {}, "search": {"throttle_rate": 0.5, "throttle_burst": 2, "quota": 100}}


def plans(made: Synthesized) -> list[tuple[object, object]]:
    """Throttle and quota of each key's plan, in the template's order. Every key has one plan, and
    every plan one key.
    """
    resources = made.template["Resources"]
    pairs = [
        (entry["KeyId"]["Ref"], entry["UsagePlanId"]["Ref"])
        for entry in made.all("ApiGateway::UsagePlanKey")
    ]
    keys, plans = zip(*pairs, strict=True)
    made_keys = made.all("ApiGateway::ApiKey")
    assert len(set(keys)) == len(set(plans)) == len(made_keys)
    properties = [resources[plan]["Properties"] for plan in plans]
    stages = [resources[key]["Properties"]["StageKeys"][0]["StageName"] for key in keys]
    assert [plan["ApiStages"][0]["Stage"] for plan in properties] == stages
    return [(plan.get("Throttle"), plan.get("Quota")) for plan in properties]


def command(made: Synthesized, output: str) -> str:
    """The name of the key that an output's command prints."""
    parts = made.template["Outputs"][output]["Value"]["Fn::Join"][1]
    (key,) = [part["Ref"] for part in parts if isinstance(part, dict) and "ApiRest" in part["Ref"]]
    return re.sub(r"ApiRestKey(.*)[0-9A-F]{8}", r"\1", key)


def test_each_key_has_a_plan_of_its_own_and_a_command_that_prints_it(synth: Synth) -> None:
    made = synth(api_keys=NAMED)
    assert plans(made) == [
        (None, None),
        ({"RateLimit": 0.5, "BurstLimit": 2}, {"Limit": 100, "Period": "MONTH"}),
    ]
    assert command(made, "ApiKeyCommand") == ""
    assert command(made, "ApiKeyCommandSearch") == "Search"
    assert responses(made)["QUOTA_EXCEEDED"][::2] == ("429", "too_many_requests")
    # Of the first key, which `make deploy-cdk` calls with.
    assert "Quota" not in made.outputs()


def test_a_key_without_limits_has_those_of_the_settings(synth: Synth) -> None:
    made = synth(api_keys=NAMED, quota="7")
    assert [quota for _, quota in plans(made)] == [
        {"Limit": 7, "Period": "MONTH"},
        {"Limit": 100, "Period": "MONTH"},
    ]
    assert made.template["Outputs"]["Quota"]["Value"] == "7"


def test_a_rotation_leaves_each_other_key_as_it_is(synth: Synth) -> None:
    """A resource whose name or properties change could become another key."""
    kinds = (
        "AWS::ApiGateway::ApiKey",
        "AWS::ApiGateway::UsagePlan",
        "AWS::ApiGateway::UsagePlanKey",
    )

    def keys(made: Synthesized) -> dict[str, object]:
        return {
            name: resource
            for name, resource in made.template["Resources"].items()
            if resource["Type"] in kinds
        }

    first = keys(synth())
    both = keys(synth(api_keys="default,search"))
    last = synth(api_keys="search")
    assert len(first) == 3
    assert both == first | keys(last)
    assert not first.keys() & keys(last).keys()
    assert command(last, "ApiKeyCommand") == command(last, "ApiKeyCommandSearch") == "Search"


def test_the_guides_keys_come_through_the_app(tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    (written,) = re.findall(r'```json\n("api_keys": .*)\n```', guide)
    context = {"bundle": "models/demo", "synth_only": "true", **json.loads(f"{{{written}}}")}
    done = app(tmp_path, context)
    assert done.returncode == 0, done.stderr
    template = json.loads((tmp_path / "out" / "clip-classifier.template.json").read_bytes())
    made = Synthesized(template, [], tmp_path)
    assert plans(made) == [
        (None, None),
        ({"RateLimit": 5, "BurstLimit": 10}, {"Limit": 100000, "Period": "MONTH"}),
    ]
    assert {"ApiKeyCommand", "ApiKeyCommandSearch"} <= made.outputs()


def test_names_alone_are_read_from_text_and_from_json() -> None:
    expected = {"default": KeyLimits(), "search2": KeyLimits()}
    names = ["default", "search2"]
    forms: list[object] = ["default, search2", names, {"default": {}, "search2": {}}]
    for given in forms:
        assert read_settings(api_keys=given).api_keys == expected
    assert read_settings().api_keys == {"default": KeyLimits()}


@pytest.mark.parametrize(
    "given",
    [
        "",
        "Search",
        "search-team",
        "2search",
        "default,",
        [],
        {},
        {"search": {"throttle": 5}},
        {"search": {"throttle_rate": 0, "throttle_burst": 1}},
        {"search": {"throttle_rate": 1, "throttle_burst": 5001}},
        {"search": {"quota": 0}},
        {"search": 5},
        ",".join(f"key{number}" for number in range(51)),
    ],
)
def test_wrong_keys_are_refused_with_what_is_allowed(given: object) -> None:
    allowed = Settings.model_fields["api_keys"].description
    with pytest.raises(SettingsError) as raised:
        read_settings(api_keys=given)
    assert str(raised.value) == f"api_keys={given} is not allowed. Allowed: {allowed}."


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (
            {"api_keys": {"search": {"throttle_rate": 5}}},
            "api_keys: search has one of throttle_rate and throttle_burst. Set both, or neither.",
        ),
        (
            {"api_keys": "search,web", "authentication": "iam"},
            "api_keys=search,web makes API keys, and authentication=iam takes none.",
        ),
    ],
)
def test_keys_that_could_not_work_are_refused_with_the_reason(
    given: dict[str, object], reason: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        read_settings(**given)
    assert str(raised.value).startswith(reason)
