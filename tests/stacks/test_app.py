import json
import re
import textwrap
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest

from tests.support.requests import ROOT
from tests.support.stacks import COMBINATIONS, app
from tests.support.synthesis import new_app, new_stack, read_settings


def test_synthesis_needs_neither_docker_nor_credentials(tmp_path: Path) -> None:
    context = json.loads((ROOT / "cdk.json").read_text(encoding="utf-8"))["context"]
    done = app(
        tmp_path,
        context
        | COMBINATIONS["uploads with everything"]
        | {"bundle": "models/demo", "synth_only": "true", "memory": "1769"},
    )
    assert done.returncode == 0, done.stderr
    template, report = (
        json.loads((tmp_path / "out" / name).read_bytes())
        for name in ("clip-classifier.template.json", "validation-report.json")
    )
    assert 1769 in {
        resource["Properties"]["MemorySize"]
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::Lambda::Function"
    }
    # The CDK's own checks of the template.
    assert report["pluginReports"] == []


def test_a_refused_setting_ends_synthesis_with_its_message(tmp_path: Path) -> None:
    done = app(tmp_path, {"bundle": "models/demo"})
    assert done.returncode == 1
    assert (
        done.stderr.strip()
        .splitlines()[-1]
        .startswith("error: bundle=models/demo is the demo model")
    )


EXTENSIONS = re.findall(
    r"```python\n(.*?)```",
    (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8").partition("## Extend the stack")[2],
    re.S,
)


# By a name, what the template then holds.
EXTENDED = {
    "web ACL": ["WebACLAssociation"],
    "traffic shifting": ["CodeDeploy::DeploymentGroup"],
    "warm hours": [
        '"ScalableDimension": "lambda:function:ProvisionedConcurrency"',
        '"Schedule": "cron(0 7 ? * MON-FRI *)"',
        '"Schedule": "cron(0 19 ? * MON-FRI *)"',
    ],
    "VPC": ["SecurityGroupIds", '"DestinationPrefixListId": "pl-'],
}


@pytest.mark.parametrize(
    ("code", "expected"), [*zip(EXTENSIONS, EXTENDED.values(), strict=True)], ids=[*EXTENDED]
)
def test_the_guides_extensions_of_the_stack_synthesize(
    code: str, expected: list[str], tmp_path: Path
) -> None:
    source = (ROOT / "stacks" / "classifier_stack.py").read_text(encoding="utf-8").rstrip()
    module: dict[str, Any] = {"__name__": "extended"}
    exec(compile(f"{source}\n{textwrap.indent(code, ' ' * 8)}", "extended", "exec"), module)
    settings = read_settings(provisioned_concurrency=1)
    app = new_app(tmp_path)
    new_stack(app, settings, module["ClassifierStack"])
    app.synth()
    template = (tmp_path / f"{settings.name}.template.json").read_text(encoding="utf-8")
    for text in expected:
        assert text in template


def test_the_cdks_own_keys_for_a_permissions_boundary_and_tags_reach_every_role_and_resource(
    tmp_path: Path,
) -> None:
    settings = read_settings()
    app = new_app(tmp_path, **{"@aws-cdk/core:permissionsBoundary": {"name": "boundary"}})
    stack = new_stack(app, settings)
    cdk.Tags.of(stack).add("team", "images")
    app.synth()
    template = json.loads((tmp_path / f"{settings.name}.template.json").read_text(encoding="utf-8"))
    roles = [
        resource["Properties"]
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::IAM::Role"
    ]
    assert roles
    assert all("policy/boundary" in json.dumps(role["PermissionsBoundary"]) for role in roles)
    assert all({"Key": "team", "Value": "images"} in role["Tags"] for role in roles)
