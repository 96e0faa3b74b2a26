"""Checks this machine before anything is installed: programs, AWS credentials, a region.

It needs the standard library alone: python3 -m tools.deploy.machine node docker buildx aws
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

MIN_NODE = 22


class CheckError(Exception):
    """Something that a deployment needs isn't there. The message ends with what to do."""


def run(command: Sequence[str], remedy: str) -> str:
    """Returns what a program prints. Raises CheckError with its own message and the remedy."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise CheckError(f"{command[0]} is not installed\n  {remedy}") from None
    if done.returncode:
        reason = (
            done.stderr.strip() or done.stdout.strip() or f"{' '.join(command)} failed"
        ).splitlines()[0]
        raise CheckError(f"{reason}\n  {remedy}")
    return done.stdout.strip()


def docker() -> str:
    """The program that the CDK builds images with."""
    return os.environ.get("CDK_DOCKER", "docker")


def check_node() -> None:
    remedy = f"install Node.js {MIN_NODE} or newer: https://nodejs.org"
    version = run(["node", "--version"], remedy)
    major = re.match(r"v(\d+)\.", version)
    if not major or int(major[1]) < MIN_NODE:
        raise CheckError(f"Node.js is {version}, which is too old for the CDK\n  {remedy}")


def check_docker() -> None:
    run(
        [docker(), "info"],
        "install Docker and start it: https://docs.docker.com/get-started/get-docker/",
    )


def check_buildx() -> None:
    """Only Docker needs the plug-in; finch and podman can build by themselves."""
    if Path(docker()).name == "docker":
        run(
            [docker(), "buildx", "version"],
            "install Docker's buildx: https://github.com/docker/buildx#installing",
        )


def check_aws() -> None:
    run(["aws", "--version"], "install the AWS CLI, version 2: https://docs.aws.amazon.com/cli/")


def check_credentials() -> None:
    run(
        ["aws", "sts", "get-caller-identity"],
        "sign in (aws login, aws sso login) or run: aws configure",
    )


def region() -> str:
    """The region that the AWS CLI would take. Raises CheckError if none is set."""
    named = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return named or run(
        ["aws", "configure", "get", "region"],
        "name one: export AWS_REGION=eu-central-1, or aws configure set region eu-central-1",
    )


def check_region() -> None:
    region()


CHECKS: Mapping[str, Callable[[], None]] = {
    "node": check_node,
    "docker": check_docker,
    "buildx": check_buildx,
    "aws": check_aws,
    "credentials": check_credentials,
    "region": check_region,
}
# A check that can't succeed after another one failed.
NEEDS = {"buildx": "docker", "credentials": "aws"}


def missing(names: Sequence[str]) -> list[str]:
    """Every problem that was found, each with what to do about it."""
    problems: dict[str, str] = {}
    for name in names:
        if NEEDS.get(name) in problems:
            continue
        try:
            CHECKS[name]()
        except CheckError as err:
            problems[name] = f"{name}: {err}"
    return list(problems.values())


def main(names: Sequence[str]) -> None:
    if problems := missing(names):
        sys.exit("\n".join(["This is missing:", *problems]))


if __name__ == "__main__":
    main(sys.argv[1:])
