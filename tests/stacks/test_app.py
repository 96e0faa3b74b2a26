import json
import re
import textwrap
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest

from classifier.engine.check import check_prompts
from stacks.bundle import Bundle
from stacks.classifier_stack import ClassifierStack
from stacks.settings.deployment import Settings
from tests.support.requests import ROOT
from tests.support.stacks import app


def test_synthesis_needs_neither_docker_nor_credentials(tmp_path: Path) -> None:
    context = json.loads((ROOT / "cdk.json").read_text(encoding="utf-8"))["context"]
    done = app(
        tmp_path, context | {"bundle": "models/demo", "synth_only": "true", "memory": "1769"}
    )
    assert done.returncode == 0, done.stderr
    template = json.loads(
        (tmp_path / "out" / "clip-classifier.template.json").read_text(encoding="utf-8")
    )
    (function,) = [
        resource
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::Lambda::Function"
    ]
    assert function["Properties"]["MemorySize"] == 1769


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


@pytest.mark.parametrize("code", EXTENSIONS, ids=["web ACL", "traffic shifting", "VPC"])
def test_the_guides_extensions_of_the_stack_synthesize(code: str, tmp_path: Path) -> None:
    source = (ROOT / "stacks" / "classifier_stack.py").read_text(encoding="utf-8").rstrip()
    module: dict[str, Any] = {"__name__": "extended"}
    exec(compile(f"{source}\n{textwrap.indent(code, ' ' * 8)}", "extended", "exec"), module)
    settings = Settings.read(
        {"bundle": "models/demo", "synth_only": True, "provisioned_concurrency": 1}
    )
    app = cdk.App(outdir=str(tmp_path))
    bundle = Bundle.read(ROOT, settings, check_prompts)
    module["ClassifierStack"](app, settings=settings, bundle=bundle, root=ROOT)
    app.synth()
    expected = ("WebACLAssociation", "CodeDeploy::DeploymentGroup", "SecurityGroupIds")[
        EXTENSIONS.index(code)
    ]
    assert expected in (tmp_path / f"{settings.name}.template.json").read_text(encoding="utf-8")


def test_the_cdks_own_keys_for_a_permissions_boundary_and_tags_reach_every_role_and_resource(
    tmp_path: Path,
) -> None:
    settings = Settings.read({"bundle": "models/demo", "synth_only": True})
    app = cdk.App(
        outdir=str(tmp_path), context={"@aws-cdk/core:permissionsBoundary": {"name": "boundary"}}
    )
    bundle = Bundle.read(ROOT, settings, check_prompts)
    stack = ClassifierStack(app, settings=settings, bundle=bundle, root=ROOT)
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
