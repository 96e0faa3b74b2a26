import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stacks.settings.deployment import Settings
from tests.support.requests import ROOT
from tests.support.stacks import BASE, KEYED
from tests.support.synthesis import BULK, Synth, image_source, synthesize
from tools.local import gateway


def test_the_function_is_the_image_with_its_settings(synth: Synth) -> None:
    function = synth().one("Lambda::Function")
    assert function["PackageType"] == "Image"
    assert (function["MemorySize"], function["Timeout"], function["Architectures"]) == (
        3008,
        28,
        ["arm64"],
    )
    assert function["Environment"]["Variables"] == {"CORS_ORIGIN": "*"}
    assert function["LoggingConfig"]["LogFormat"] == "JSON"
    assert "ReservedConcurrentExecutions" not in function
    assert not synth().all("Lambda::Alias")


def test_memory_timeout_and_reserved_concurrency_reach_the_function(synth: Synth) -> None:
    made = synth(memory="1769", timeout=10, reserved_concurrency="3")
    function = made.one("Lambda::Function")
    assert (
        function["MemorySize"],
        function["Timeout"],
        function["ReservedConcurrentExecutions"],
    ) == (1769, 10, 3)


@pytest.mark.parametrize(
    ("architecture", "platform"), [("arm64", "linux/arm64"), ("x86_64", "linux/amd64")]
)
def test_the_architecture_is_the_function_s_and_the_image_s(
    synth: Synth, architecture: str, platform: str
) -> None:
    made = synth(architecture=architecture)
    assert made.one("Lambda::Function")["Architectures"] == [architecture]
    (image,) = json.loads(
        (made.folder / "clip-classifier.assets.json").read_text(encoding="utf-8")
    )["dockerImages"].values()
    assert image["source"]["platform"] == platform
    arguments = image["source"]["dockerBuildArgs"]
    assert len(arguments.pop("BUILD")) == 12
    assert arguments == {
        "BUNDLE": "models/demo",
        "BASE_IMAGE": "public.ecr.aws/lambda/python:3.13",
    }
    assert image["source"]["dockerFile"] == "lambdas/classifier/Dockerfile"


def test_kept_warm_environments_stand_behind_an_alias_that_the_api_calls(synth: Synth) -> None:
    made = synth(provisioned_concurrency=2)
    (alias,) = [
        name
        for name, one in made.template["Resources"].items()
        if one["Type"] == "AWS::Lambda::Alias"
    ]
    assert made.one("Lambda::Alias")["ProvisionedConcurrencyConfig"] == {
        "ProvisionedConcurrentExecutions": 2
    }
    uris = {name: method["Integration"].get("Uri") for name, method in made.methods().items()}
    assert {name for name, uri in uris.items() if alias in json.dumps(uri)} == {
        *KEYED,
        "GET /health",
    }
    assert all(
        alias in json.dumps(permission["FunctionName"])
        for permission in made.all("Lambda::Permission")
    )


def test_the_role_writes_its_own_log_and_can_do_no_more(synth: Synth) -> None:
    role = synth().one("IAM::Role")
    policy = synth().one("IAM::Policy")
    assert "ManagedPolicyArns" not in role
    granted = {
        tuple(sorted(statement["Action"])): statement["Resource"]
        for statement in policy["PolicyDocument"]["Statement"]
    }
    log = synth().one("Lambda::Function")["LoggingConfig"]["LogGroup"]["Ref"]
    assert granted == {
        ("logs:CreateLogStream", "logs:PutLogEvents"): {"Fn::GetAtt": [log, "Arn"]},
    }


def test_traces_cost_money_and_are_made_only_if_the_settings_ask(synth: Synth) -> None:
    for tracing in (False, True):
        made = synth(**BULK, tracing=tracing)
        functions = [one.get("TracingConfig") for one in made.all("Lambda::Function")]
        assert functions == [{"Mode": "Active"} if tracing else None] * 2
        assert bool(made.one("ApiGateway::Stage").get("TracingEnabled")) is tracing
        machine = made.one("StepFunctions::StateMachine")
        assert bool(machine.get("TracingConfiguration", {}).get("Enabled")) is tracing
        assert ("xray:" in json.dumps(made.template)) is tracing


def test_the_function_s_time_ends_before_the_api_s(synth: Synth) -> None:
    assert (
        synth().one("Lambda::Function")["Timeout"] * 1000
        < synth().methods()["POST /"]["Integration"]["TimeoutInMillis"]
        <= 29000
    )
    assert Settings.model_fields["timeout"].metadata[-1].le < gateway.TIMEOUT_S


def test_the_base_image_and_heic_are_build_arguments(synth: Synth) -> None:
    made = synth(base_image=BASE, heic="true")
    image = image_source(made.folder / "clip-classifier.template.json")
    assert image["dockerBuildArgs"]["BASE_IMAGE"] == BASE
    assert image["dockerBuildArgs"]["HEIC"] == "true"


def test_the_image_tells_a_build_that_changes_with_what_it_is_made_of(synth: Synth) -> None:
    def told(**context: object) -> tuple[str, str]:
        made = synth(**context)
        template = next(made.folder.glob("*.template.json"))
        argument = image_source(template)["dockerBuildArgs"]["BUILD"]
        return argument, made.template["Outputs"]["Build"]["Value"]

    argument, output = told()
    assert argument == output
    assert re.fullmatch("[0-9a-f]{12}", output)
    assert told(memory=2048)[1] == output
    assert len({output, told(heic=True)[1], told(architecture="x86_64")[1]}) == 3


def test_pips_configuration_and_certificates_are_secrets_that_change_no_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def source(name: str) -> dict[str, object]:
        made = image_source(synthesize(tmp_path / name))
        return made | {"directory": Path(made["directory"]).name}

    for variable in ("PIP_CERT", "PIP_CONFIG_FILE"):
        monkeypatch.delenv(variable, raising=False)
    before = source("before")
    (tmp_path / "pip.conf").write_text("[global]\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("PIP_CERT", "/nowhere")
    after = source("after")
    assert after.pop("dockerBuildSecrets") == {"pip_config": f"src={tmp_path}/pip.conf"}
    assert before.pop("dockerBuildSecrets", {}) == {}
    assert after == before


def test_the_default_base_image_is_the_dockerfiles() -> None:
    dockerfile = (ROOT / "lambdas" / "classifier" / "Dockerfile").read_text(encoding="utf-8")
    assert f"ARG BASE_IMAGE={Settings.model_fields['base_image'].default}\n" in dockerfile


def test_every_run_time_requirement_has_an_arm64_wheel(tmp_path: Path) -> None:
    platforms = [f"--platform={name}_aarch64" for name in ("manylinux_2_28", "manylinux2014")]
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--dry-run",
        "--no-deps",
        "--quiet",
        "--disable-pip-version-check",
    ]
    wanted = ["--only-binary=:all:", "--python-version=3.13", *platforms, f"--target={tmp_path}"]
    requirements = ROOT / "lambdas" / "classifier" / "requirements.txt"
    done = subprocess.run(
        [*pip, *wanted, "-r", requirements], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
