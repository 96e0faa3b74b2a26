"""The tools around a deployment with AWS's and the CDK's real command lines against moto.

The AWS CLI is version 1, in this Python's folder, unless the variable AWS_CLI names another
program.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from classifier.contract.bundle import read_manifest
from tests.support.deployment import NO_PARAMETER, NO_ROLE, NO_STACK
from tests.support.emulator import LAMBDA, free_port
from tests.support.requests import ROOT
from tools.archive import pack
from tools.deploy.aws import AwsError

PROGRAMS = Path(sys.executable).parent
CLI = os.environ.get("AWS_CLI") or PROGRAMS / "aws"
BOOTSTRAP = "/cdk-bootstrap/hnb659fds/version"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Runs a program with the real `aws` on PATH, which an empty account answers."""
    port = free_port()
    server = subprocess.Popen(
        [PROGRAMS / "moto_server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION")
    account = {name: LAMBDA[name] for name in names}
    account |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    aws = tmp_path / "bin" / "aws"
    aws.parent.mkdir()
    # By an option, since version 2 reads AWS_ENDPOINT_URL from 2.13 on.
    aws.write_text(f'#!/bin/sh\nexec "{CLI}" --endpoint-url "$AWS_ENDPOINT_URL" "$@"\n')
    aws.chmod(0o755)
    account |= {"PATH": f"{aws.parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path)}
    account |= {"JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "1", "CI": "true"}

    def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = account | variables
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )

    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and server.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.2)
        yield run
    finally:
        server.terminate()
        server.wait()


def tool(run: Run, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "-m", "tools.deploy", *arguments, **variables)


def test_an_empty_account_is_told_to_bootstrap_and_then_passes(run: Run) -> None:
    machine = run(sys.executable, "-m", "tools.deploy.machine", "aws", "credentials", "region")
    assert (machine.returncode, machine.stderr) == (0, "")
    checks = ("check", "region", "bootstrap", "logging-role")
    before = tool(run, *checks)
    assert before.returncode == 1
    assert before.stderr.count("make bootstrap") == 2, before.stderr
    run("aws", "ssm", "put-parameter", "--name", BOOTSTRAP, "--type", "String", "--value", "30")
    role = run(
        *("aws", "iam", "create-role", "--role-name", "logs"),
        *("--assume-role-policy-document", "{}", "--query", "Role.Arn", "--output", "text"),
    ).stdout.strip()
    patch = f"op=replace,path=/cloudwatchRoleArn,value={role}"
    assert run("aws", "apigateway", "update-account", "--patch-operations", patch).returncode == 0
    assert tool(run, *checks).stderr == ""
    assert tool(run, "logging-role").stdout == f"API Gateway writes its logs with {role}.\n"
    # The account still names a role that was deleted.
    run("aws", "iam", "delete-role", "--role-name", "logs")
    assert "make bootstrap" in tool(run, *checks).stderr


def test_the_role_for_logs_is_made_by_the_real_template(run: Run) -> None:
    done = tool(run, "logging-role")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Successfully created/updated stack - api-gateway-logging" in done.stdout
    (role,) = json.loads(run("aws", "iam", "list-roles").stdout)["Roles"]
    assert role["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] == {
        "Service": "apigateway.amazonaws.com"
    }
    # In moto the account doesn't name the role then. A finished stack is named and left alone.
    assert "in the way is a stack api-gateway-logging" in tool(run, "logging-role").stderr


NO_FUNCTION = (254, "An error occurred (ResourceNotFoundException) when calling the {0} operation")


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        (["ssm", "get-parameter", "--name", BOOTSTRAP], NO_PARAMETER),
        (["iam", "get-role", "--role-name", "none"], NO_ROLE),
        (["cloudformation", "describe-stack-resources", "--stack-name", "none"], NO_STACK),
        (["lambda", "get-function-concurrency", "--function-name", "none"], NO_FUNCTION),
    ],
)
def test_the_cli_fails_in_the_words_of_its_stand_in(
    run: Run, command: list[str], reply: tuple[int, str]
) -> None:
    done = run("aws", *command)
    assert done.returncode
    operation = command[1].title().replace("-", "")
    assert done.stderr.startswith("\n" + reply[1].replace("{0}", operation).partition(": ")[0])
    assert f"({AwsError(command, done.stderr).code})" in reply[1]


def test_no_credentials_are_no_error_of_aws_and_change_nothing(run: Run) -> None:
    done = tool(run, "logging-role", AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    assert (done.returncode, "Unable to locate credentials" in done.stderr) == (1, True)
    assert "api-gateway-logging" not in run("aws", "cloudformation", "list-stacks").stdout


def documented(command: str) -> list[str]:
    """The one line of docs/deploy.md that begins so."""
    (line,) = (
        line
        for line in (ROOT / "docs" / "deploy.md").read_text().splitlines()
        if line.startswith(command)
    )
    return line.split()


def test_the_documented_bootstrap_gives_every_role_the_boundary(run: Run) -> None:
    done = run(*documented("node_modules/.bin/cdk bootstrap --custom-permissions-boundary"))
    assert done.returncode == 0, done.stderr
    names = json.loads(run("aws", "iam", "list-roles", "--query", "Roles[].RoleName").stdout)
    roles = [
        json.loads(run("aws", "iam", "get-role", "--role-name", name).stdout)["Role"]
        for name in names
    ]
    boundaries = {
        role["RoleName"]: role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn", "")
        for role in roles
    }
    assert len(boundaries) == 5
    assert all(boundary.endswith(":policy/developers") for boundary in boundaries.values()), (
        boundaries
    )


def test_the_documented_clean_up_deletes_the_images_that_no_stack_uses(
    run: Run, tmp_path: Path
) -> None:
    # moto makes the CDK's own stack without its outputs, so one that has them takes its place.
    resources = {
        "Images": {"Type": "AWS::ECR::Repository", "Properties": {"RepositoryName": "images"}}
    }
    outputs = {
        "ImageRepositoryName": {"Value": {"Ref": "Images"}},
        "BootstrapVersion": {"Value": "30"},
    }
    make_stack(run, tmp_path, "CDKToolkit", {"Resources": resources, "Outputs": outputs})
    used = "1" * 64
    unused = "2" * 64
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    for tag in (used, unused):
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": kind,
                "config": {"digest": tag},
                "layers": [{"size": 1, "digest": tag}],
            }
        )
        put = (
            "ecr",
            "put-image",
            "--repository-name",
            "images",
            "--image-tag",
            tag,
            "--image-manifest",
            manifest,
        )
        assert run("aws", *put).returncode == 0
    topic = {"Type": "AWS::SNS::Topic", "Properties": {"DisplayName": f"images:{used}"}}
    make_stack(run, tmp_path, "user", {"Resources": {"Topic": topic}})
    now = ("--created-buffer-days=0", "--confirm=false")
    done = run(*documented("node_modules/.bin/cdk gc"), *now)
    assert done.returncode == 0, done.stderr
    images = json.loads(run("aws", "ecr", "list-images", "--repository-name", "images").stdout)[
        "imageIds"
    ]
    assert [image["imageTag"] for image in images] == [used], done.stdout + done.stderr[-3000:]


def make_stack(run: Run, folder: Path, name: str, template: dict[str, object]) -> None:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(template))
    made = run(
        "aws",
        "cloudformation",
        "create-stack",
        "--stack-name",
        name,
        "--template-body",
        f"file://{path}",
    )
    assert made.returncode == 0, made.stderr


def test_a_bundle_is_fetched_from_s3(run: Run, tmp_path: Path) -> None:
    archive = tmp_path / "demo.tar"
    digest = pack(ROOT / "models" / "demo", archive)
    run("aws", "s3", "mb", "s3://bundles")
    assert run("aws", "s3", "cp", str(archive), "s3://bundles/demo.tar").returncode == 0
    fetch = (
        "import sys, pathlib; from tools.archive import fetch; print(fetch(*sys.argv[1:3],"
        " pathlib.Path(sys.argv[3])))"
    )
    done = run(
        sys.executable, "-c", fetch, "s3://bundles/demo.tar", digest, str(tmp_path / "models")
    )
    assert done.returncode == 0, done.stderr
    assert read_manifest(Path(done.stdout.strip()), verify_hashes=True)
    missing = run(
        sys.executable, "-c", fetch, "s3://bundles/none.tar", "0" * 64, str(tmp_path / "models")
    )
    assert "aws s3 cp could not copy s3://bundles/none.tar" in missing.stderr
