import difflib
import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from stacks.settings.deployment import Settings
from stacks.settings.errors import SettingsError
from tests.support.requests import ROOT

# The only setting without a default.
BUNDLE = {"bundle": "models/demo"}


def settings(**values: object) -> Settings:
    return Settings.read(BUNDLE | values)


def refused(values: dict[str, object]) -> str:
    with pytest.raises(SettingsError) as raised:
        settings(**values)
    return str(raised.value)


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


def test_cdk_json_holds_the_cdks_own_keys_and_what_has_no_default() -> None:
    context = json.loads((ROOT / "cdk.json").read_text(encoding="utf-8"))["context"]
    required = {key for key, field in Settings.model_fields.items() if field.is_required()}
    assert {key for key in context if "@" not in key} - {"base_image"} == required == {"bundle"}
    assert Settings.read(context).name == "clip-classifier"
