import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.deployment import Programs, outputs
from tests.support.endpoint import endpoint
from tests.support.requests import DEMO, ROOT
from tools.deploy import checks, machine


def outside(**environment: str) -> dict[str, str]:
    """The environment without what an outer make left in it."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))
    } | environment


def make(*words: str) -> str:
    """What make would do, without the shell's quotes."""
    command = ["make", "--dry-run", *words]
    return subprocess.run(
        command, cwd=ROOT, env=outside(), capture_output=True, text=True, check=True
    ).stdout.replace("'", "")


def test_a_deployment_takes_the_settings_and_the_bundle_that_were_named() -> None:
    output = make("deploy-cdk", "SETTINGS=memory=4096 playground=true", "BUNDLE=models/mine")
    assert (
        "cdk deploy -c memory=4096 -c playground=true -c bundle=models/mine --require-approval"
        " never " in output
    )
    assert "concurrency -c memory=4096 -c playground=true -c bundle=models/mine" in output
    assert "-c bundle=models/ViT-L-14-laion " in make(
        "deploy-cdk", "MODEL=ViT-L-14", "PRETRAINED=laion"
    )
    assert "-c bundle=models/ViT-B-32-quickgelu-openai " in make("deploy-cdk")
    assert "synth_only" not in make("deploy-cdk")


def test_everything_is_checked_before_the_long_export() -> None:
    output = make("deploy-cdk")
    found = re.search(r"tools\.deploy check (.*?) -c ", output)
    early = re.search(r"tools\.deploy\.machine (.*)", output)
    assert early and found
    assert early[1].split() == list(machine.CHECKS)
    assert found[1].split() == list(checks.CHECKS)
    assert early.end() < found.start() < found.end() < output.index("/bundle.json || ")


def test_a_pipeline_chooses_approval_and_destroys_without_a_question() -> None:
    assert "--require-approval broadening " in make("deploy-cdk", "APPROVAL=broadening")
    assert "--force" in make("destroy", "YES=1")
    assert "--force" not in make("destroy")


@pytest.mark.parametrize(
    ("bundle", "made"),
    [
        ("models/ViT-L-14-laion", "made: --no-print-directory model\n"),
        ("models/mine", ""),
        ("models/demo", ""),
    ],
)
def test_the_whole_way_from_the_missing_bundle_to_the_first_answer(
    programs: Programs, bundle: str, made: str
) -> None:
    programs.aws(apigateway__get_api_key="secret")
    with endpoint(502) as (url, seen):
        file = outputs(programs.folder, url, ApiKeyCommand="aws apigateway get-api-key")
        # As the real one would, it makes what was to be deployed.
        programs.add(
            "cdk",
            f'echo "cdk $* BUILDX_BUILDER=$BUILDX_BUILDER"; mkdir -p build; test -e "{bundle}" ||'
            f' ln -s "{DEMO}" "{bundle}"; cp {file} build/outputs.json',
        )
        path = f"{programs.folder}{os.pathsep}{os.environ['PATH']}"
        words = [
            f"BUNDLE={bundle}",
            "MODEL=ViT-L-14",
            "PRETRAINED=laion",
            f"CDK={programs.folder}/cdk",
            "MAKE=echo made:",
        ]
        # One that leaves its images in a container, where the CDK doesn't find them.
        environment = outside(PATH=path, BUILDX_BUILDER="in-a-container", AWS_REGION="eu-central-1")
        folder = workspace(programs.folder, bundle)
        command = ["make", "--silent", "--old-file", ".venv/deploys", "deploy-cdk", *words]
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    before, after = done.stdout.split(
        f"cdk deploy -c bundle={bundle} --require-approval never --outputs-file build/outputs.json"
        " BUILDX_BUILDER=\n"
    )
    assert before == f"{made}made: --no-print-directory {programs.folder}/cdk\n"
    assert "502" in after
    assert "It answered after 1." in after
    assert [request["x-api-key"] for request in seen] == ["secret", "secret"]


def workspace(folder: Path, bundle: str) -> Path:
    """A copy of the repository in which a deployment may write; its bundle is the demo's once `make
    model` was called.
    """
    work = folder / "work"
    work.mkdir()
    for name in (
        "Makefile",
        "cdk.json",
        "tools",
        "stacks",
        "lambdas",
        "examples",
        "pyproject.toml",
    ):
        (work / name).symlink_to(ROOT / name)
    (work / ".venv").symlink_to(ROOT / ".venv")
    (work / "models").mkdir()
    if bundle != "models/ViT-L-14-laion":
        (work / bundle).symlink_to(DEMO)
    else:
        (work / "models" / "made").symlink_to(DEMO)
    return work


def test_a_failing_npm_says_why(tmp_path: Path) -> None:
    # As npm does: with --silent not even its errors are printed.
    script = (
        'case " $* " in *" --silent "*) ;; *) echo "npm error code ENOTFOUND" >&2;; esac; exit 1'
    )
    programs = Programs(tmp_path)
    programs.add("npm", script)
    command = [
        "make",
        "--silent",
        "--always-make",
        f"CDK={tmp_path}/bin/cdk",
        f"{tmp_path}/bin/cdk",
    ]
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=ROOT, env=outside(PATH=path), capture_output=True, text=True, check=False
    )
    assert done.returncode
    assert "npm error code ENOTFOUND" in done.stderr


def test_a_template_is_made_of_the_demo_only_if_no_bundle_was_named() -> None:
    assert "cdk synth --quiet -c memory=2048 -c bundle=models/demo -c synth_only=true 2>" in make(
        "synth", "SETTINGS=memory=2048", "DEPLOYED=models/none"
    )
    assert "-c bundle=models/none -c synth_only=true 2>" in make("synth", "BUNDLE=models/none")


@pytest.mark.parametrize(
    ("words", "noted"), [(["DEPLOYED=models/none"], True), (["BUNDLE=models/demo"], False)]
)
def test_a_template_made_of_the_demo_unasked_says_so(
    programs: Programs, words: list[str], noted: bool
) -> None:
    programs.add(
        "cdk",
        'echo 84 feature flags are not configured. >&2; echo "b\'!! Node 20 !!" >&2;'
        " echo A warning. >&2; exit $STATUS",
    )
    cdk = f"{programs.folder}/cdk"
    command = [
        "make",
        "--silent",
        "--old-file",
        ".venv/deploys",
        "--old-file",
        cdk,
        f"CDK={cdk}",
        "synth",
        *words,
    ]
    done, failed = (
        subprocess.run(
            command,
            cwd=ROOT,
            env=outside(STATUS=status),
            capture_output=True,
            text=True,
            check=False,
        )
        for status in "01"
    )
    assert ("doesn't exist: the template is made with the demo bundle" in done.stdout) == noted
    assert "The template: " in done.stdout
    assert "The template: " not in failed.stdout
    assert (done.returncode, failed.returncode) == (0, 2)
    assert "A warning." in done.stderr
    assert "feature flags" not in done.stderr
    assert "Node 20" not in done.stderr


def test_removal_and_bootstrap_need_no_bundle() -> None:
    for target in ("destroy", "bootstrap"):
        output = make(target, "SETTINGS=name=mine bundle=models/gone")
        assert f"cdk {target} -c name=mine -c bundle=models/demo -c synth_only=true" in output


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({"AWS_REGION": "eu-central-1"}, "eu-central-1"),
        ({"AWS_REGION": "eu-central-1", "AWS_DEFAULT_REGION": "us-east-1"}, "eu-central-1"),
        ({"AWS_DEFAULT_REGION": "us-east-1"}, "us-east-1"),
        ({}, "unset"),
    ],
)
def test_all_tools_deploy_to_the_same_region(given: dict[str, str], taken: str) -> None:
    """boto3 and version 1 of AWS's command line read AWS_DEFAULT_REGION alone."""
    environment = {
        name: value
        for name, value in outside().items()
        if name not in ("AWS_REGION", "AWS_DEFAULT_REGION")
    }
    rule = "shown: ; @echo $${AWS_DEFAULT_REGION-unset}\n"
    done = subprocess.run(
        ["make", "--silent", "-f", "Makefile", "-f", "-", "shown"],
        cwd=ROOT,
        env=environment | given,
        input=rule,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == taken


@pytest.mark.parametrize("target", ["bootstrap", "deploy-cdk", "diff", "synth", "destroy"])
def test_what_the_cdk_staged_before_is_removed(target: str) -> None:
    assert re.search(
        rf"rm -rf build/cdk\.out; \S+/cdk {target.removesuffix('-cdk')}\b", make(target)
    )
