"""The tools around a deployment with AWS's real command line (version 1) against moto, in build/aws."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.emulator import LAMBDA, free_port
from tests.support.requests import ROOT
from tools.deploy import AwsError

PROGRAMS = ROOT / "build" / "aws" / "bin"
BOOTSTRAP = "/cdk-bootstrap/hnb659fds/version"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Runs a program where the real `aws` is on PATH and an empty account answers it."""
    port = free_port()
    server = subprocess.Popen(
        [PROGRAMS / "moto_server", "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    account = {name: LAMBDA[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION")}
    account |= {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_MAX_ATTEMPTS": "1", "AWS_EC2_METADATA_DISABLED": "true"}
    account |= {"PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path)}

    def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = account | variables
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
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
    checks = ("check", "aws", "credentials", "region", "bootstrap", "logging-role")
    before = tool(run, *checks)
    assert before.returncode == 1
    assert before.stderr.count("make bootstrap") == 2, before.stderr
    run("aws", "ssm", "put-parameter", "--name", BOOTSTRAP, "--type", "String", "--value", "30")
    role = run(
        *("aws", "iam", "create-role", "--role-name", "logs", "--assume-role-policy-document", "{}"),
        *("--query", "Role.Arn", "--output", "text"),
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
    assert role["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] == {"Service": "apigateway.amazonaws.com"}
    assert tool(run, "logging-role").returncode == 0


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["ssm", "get-parameter", "--name", BOOTSTRAP], "ParameterNotFound"),
        (["iam", "get-role", "--role-name", "none"], "NoSuchEntity"),
        (["cloudformation", "describe-stack-resources", "--stack-name", "none"], "ValidationError"),
        (["lambda", "get-function-concurrency", "--function-name", "none"], "ResourceNotFoundException"),
    ],
)
def test_the_clis_own_messages_have_the_code_that_the_tools_look_for(run: Run, command: list[str], code: str) -> None:
    done = run("aws", *command)
    assert done.returncode
    assert AwsError(command, done.stderr).code == code


def test_no_credentials_are_no_error_of_aws_and_change_nothing(run: Run) -> None:
    done = tool(run, "logging-role", AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    assert (done.returncode, "Unable to locate credentials" in done.stderr) == (1, True)
    assert "api-gateway-logging" not in run("aws", "cloudformation", "list-stacks").stdout
