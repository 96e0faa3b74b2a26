"""docs/bulk.md: its sums, and its rules against an event of ours."""

import json
import re
from typing import Any

import boto3
import pytest
from moto.events.models import EventPattern

import deployment
from tests.support.requests import ROOT
from tests.support.runs import REGION, aws

PAGE = (ROOT / "docs" / "bulk.md").read_text(encoding="utf-8")
BLOCKS = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE, re.S)]
PATTERNS = [block for block in BLOCKS if "source" in block]


def cost(images: int) -> float:
    """What the example estimates: 100 ms an image, 1,769 MB, 100 images a batch."""
    return deployment.price(images * 0.1, 1.7275, images / 100, images, images / 100)


@pytest.mark.parametrize(
    ("images", "shown", "within"),
    [(1000, "$0.0031", 5e-5), (10**6, "$3.13", 5e-3), (10**8, "$313", 0.5)],
)
def test_the_costs_are_what_the_formulas_say(images: int, shown: str, within: float) -> None:
    assert f"| {images:,} | {shown} |" in PAGE
    assert cost(images) == pytest.approx(float(shown[1:]), abs=within)


def test_the_parts_add_up() -> None:
    parts = [float(value) for value in re.findall(r"\| \$(\d+\.\d{3}) \|", PAGE)]
    assert len(parts) == 6
    assert sum(parts) == pytest.approx(cost(10**6), abs=0.002)


@pytest.mark.parametrize(
    ("detail", "matching"),
    [
        ({"result": {"food": 0.9, "dog": 0.1}}, [0, 2]),
        (
            {
                "result": {"food": 0.5, "explicit": 0.95},
                "decision": {"labels": [], "action": "block"},
            },
            [1, 2],
        ),
        ({"error": {"message": "…", "code": "invalid_image"}}, [2]),
    ],
)
def test_the_rules_match_what_they_say(detail: dict[str, Any], matching: list[int]) -> None:
    event: Any = {
        "source": "clip-classifier",
        "detail-type": "Image Classified",
        "detail": {"key": "a", **detail},
    }
    found = [
        i
        for i, pattern in enumerate(PATTERNS)
        if EventPattern.load(json.dumps(pattern)).matches_event(event)
    ]
    assert (found, len(PATTERNS)) == (matching, 3)


def test_every_block_is_run_here_or_by_other_tests() -> None:
    """The state machines run in test_upload_recipes.py, the request in tools/test_classify.py."""
    requests = [block for block in BLOCKS if "categories" in block]
    statements = [block for block in BLOCKS if "Sid" in block]
    machines = [block["StartAt"] for block in BLOCKS if "StartAt" in block]
    assert (machines, len(statements), len(requests)) == (["Copy", "Put"], 1, 1)
    assert len(BLOCKS) == len(PATTERNS) + len(machines) + len(statements) + len(requests)


def test_the_policies_that_the_guides_give_are_accepted() -> None:
    github = ROOT / "examples" / "github"
    [statement] = [block for block in BLOCKS if "Sid" in block]
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    with aws():
        keys = boto3.client("kms", region_name=REGION)
        key = keys.create_key()["KeyMetadata"]["KeyId"]
        keys.put_key_policy(KeyId=key, PolicyName="default", Policy=json.dumps(policy))
        assert json.loads(keys.get_key_policy(KeyId=key, PolicyName="default")["Policy"]) == policy
        iam = boto3.client("iam")
        trust = (github / "trust.json").read_text(encoding="utf-8")
        permissions = (github / "permissions.json").read_text(encoding="utf-8")
        iam.create_role(RoleName="deploys", AssumeRolePolicyDocument=trust)
        iam.put_role_policy(RoleName="deploys", PolicyName="p", PolicyDocument=permissions)
        wrong = permissions.replace('"Effect"', '"Efect"')
        with pytest.raises(iam.exceptions.MalformedPolicyDocumentException):
            iam.put_role_policy(RoleName="deploys", PolicyName="p", PolicyDocument=wrong)
