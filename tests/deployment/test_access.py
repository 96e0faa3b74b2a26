"""Several API keys and several origins, as docs/deploy.md tells it."""

import json
import re
from collections.abc import Callable, Iterator

import pytest

from tests.deployment.test_deploy import CLI, ask, deploy, outputs
from tests.support.account import Account

Keys = Callable[[dict[str, object]], dict[str, str]]
ORIGINS = ("https://example.org", "https://app.example.org")
# Two calls at once, and the next one after ten seconds.
SLOW = {"throttle_rate": 0.1, "throttle_burst": 2}


@pytest.fixture(scope="module")
def keys(aws: Account) -> Iterator[Keys]:
    """Deploys with these in cdk.json; the values that the outputs' commands print, by name."""
    file = aws.folder / "cdk.json"
    before = file.read_text()

    def deployed(named: dict[str, object]) -> dict[str, str]:
        configuration = json.loads(before)
        configuration["context"] |= {"api_keys": named, "cors_origin": ",".join(ORIGINS)}
        file.write_text(json.dumps(configuration, indent=2))
        assert "It answered after" in deploy(aws)
        return {
            name.removeprefix("ApiKeyCommand"): aws.run(*command.split()).stdout.strip()
            for name, command in outputs(aws).items()
            if name.startswith("ApiKeyCommand")
        }

    aws.run("make", "bootstrap")
    yield deployed
    file.write_text(before)


def status(aws: Account, key: str) -> int:
    return ask(aws, "-H", f"x-api-key: {key}")[0]


def statuses(aws: Account, key: str) -> list[int]:
    """Of six calls one after the other."""
    curl = f"curl -s -o /dev/null -w '%{{http_code}} ' -H 'x-api-key: {key}'"
    script = f"for i in $(seq 6); do {curl} {outputs(aws)['Url']}classifiers; done"
    return [int(code) for code in re.findall(r"\d{3}", aws.run("bash", "-c", script).stdout)]


def test_a_second_key_has_a_throttle_of_its_own(aws: Account, keys: Keys) -> None:
    made = keys({"default": {}, "search": SLOW})
    assert len(set(made.values())) == len(made) == 2
    assert [status(aws, key) for key in made.values()] == [200, 200]
    assert statuses(aws, made["Search"]).count(429) >= 3
    assert statuses(aws, made[""]) == [200] * 6


def test_of_several_origins_an_answer_names_the_callers(aws: Account, keys: Keys) -> None:
    def named(origin: str, *options: str, path: str = "health") -> list[str]:
        url = outputs(aws)["Url"] + path
        headers = aws.run("curl", "-s", "-i", "-H", f"Origin: {origin}", *options, url).stdout
        return re.findall(r"(?im)^(?:access-control-allow-origin|vary): (\S+)", headers)

    for origin in ORIGINS:
        assert sorted(named(origin)) == ["Origin", origin]
    assert sorted(named("https://example.com")) == ["Origin", ORIGINS[0]]
    assert named(ORIGINS[1], "-X", "OPTIONS", path="") == ["*"]
    assert named(ORIGINS[1], path="classifiers") == ["*"]


def test_a_key_is_rotated_while_both_work_and_removed_ones_are_refused(
    aws: Account, keys: Keys
) -> None:
    both = keys({"default": {}, "search": {}, "search2": {}})
    assert [status(aws, key) for key in both.values()] == [200] * 3
    last = keys({"search2": {}, "web": {}})
    # The first one of the setting has an output without its name as well.
    assert last.keys() == {"", "Search2", "Web"}
    assert last[""] == last["Search2"] == both["Search2"]
    assert [status(aws, key) for key in last.values()] == [200] * 3
    assert [status(aws, both[name]) for name in ("", "Search")] == [403, 403]


def test_destroy_ends_with_two_keys_and_their_plans(aws: Account, keys: Keys) -> None:
    listed = ("get-api-keys", "get-usage-plans", "get-rest-apis")

    def left() -> list[int]:
        shown = [aws.run(*CLI, "apigateway", name).stdout for name in listed]
        return [len(json.loads(text)["items"]) for text in shown]

    assert left() == [2, 2, 1]
    aws.run("make", "destroy", "YES=1")
    assert left() == [0, 0, 0]
