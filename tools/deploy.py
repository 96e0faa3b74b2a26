"""Around a deployment: is what it needs here, and does the endpoint answer?"""

import argparse
import base64
import json
import os
import shlex
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

PICTURE = Path(__file__).parent.parent / "examples" / "images" / "dog.jpg"
LABELS = ["a dog", "a cat", "food"]
# A new key and a new name take a minute or two to be known everywhere.
PATIENCE_S = 300.0
LONGEST_PAUSE_S = 15.0
# What is wrong with the request itself, and stays so.
NON_RETRYABLE = {400, 413, 415}
DOCKER = os.environ.get("CDK_DOCKER", "docker")
# name: what must succeed, and what to do where it doesn't
NEEDS: Mapping[str, tuple[list[str], str]] = {
    "node": (["node", "--version"], "install Node.js 22 or newer: https://nodejs.org"),
    "docker": ([DOCKER, "info"], "install Docker and start it: https://docs.docker.com/get-started/get-docker/"),
    "buildx": ([DOCKER, "buildx", "version"], "install Docker's buildx: https://github.com/docker/buildx#installing"),
    "aws": (["aws", "--version"], "install the AWS CLI, version 2: https://docs.aws.amazon.com/cli/"),
    "credentials": (["aws", "sts", "get-caller-identity"], "sign in (aws login, aws sso login) or run: aws configure"),
    "region": (
        ["sh", "-c", '[ -n "$AWS_REGION$AWS_DEFAULT_REGION" ] || aws configure get region'],
        "name one: export AWS_REGION=eu-central-1, or aws configure set region eu-central-1",
    ),
    "logging-role": (
        ["sh", "-c", "aws apigateway get-account --query cloudwatchRoleArn --output text | grep -q arn:"],
        "API Gateway has no role to write logs with in this account and region; run once: make bootstrap",
    ),
}


def missing(names: list[str]) -> list[str]:
    """What is not there of NEEDS, each with what to do about it."""
    found = []
    for name in names:
        command, remedy = NEEDS[name]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            problem = (done.stderr.strip().splitlines() or ["there is none"])[0] if done.returncode else ""
        except FileNotFoundError:
            problem = f"{command[0]} is not installed"
        if problem:
            found.append(f"{name}: {problem}\n  {remedy}")
    return found


def ask(url: str, key: str | None) -> tuple[int, str]:
    """One classification; 0 and the reason where no answer came at all."""
    body = {"image_data": base64.b64encode(PICTURE.read_bytes()).decode(), "labels": LABELS}
    headers = {"Content-Type": "application/json"} | ({"x-api-key": key} if key else {})
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as err:
        return err.code, err.read().decode("utf-8", "replace")
    except OSError as err:
        return 0, str(err)


def wait(url: str, key: str | None, *, patience: float = PATIENCE_S, sleep: Callable[[float], None] = time.sleep) -> bool:
    """Asks with ever longer pauses until there is an answer, and says what came and how long it took."""
    print(f"Asking {url} until it answers:")
    began, pause = time.monotonic(), 1.0
    while True:
        status, text = ask(url, key)
        spent = time.monotonic() - began
        print(f"  {spent:5.1f} s  {status or 'no answer'}  {text.strip()[:200]}", flush=True)
        if status == 200:
            print(f"It answered after {spent:.1f} s.")
            return True
        if status in NON_RETRYABLE or spent + pause > patience:
            print(f"No answer after {spent:.1f} s. The function's log and the dashboard tell more.", file=sys.stderr)
            return False
        sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_S)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", help="says what is missing").add_argument("names", nargs="+", choices=NEEDS)
    commands.add_parser("wait", help="calls a new deployment").add_argument("outputs", type=Path, help="cdk's --outputs-file")
    asked = parser.parse_args()
    if asked.command == "check":
        if problems := missing(asked.names):
            sys.exit("\n".join(["This is missing:", *problems]))
        return
    (outputs,) = json.loads(asked.outputs.read_text(encoding="utf-8")).values()
    key = None
    if command := outputs.get("ApiKeyCommand"):
        key = subprocess.run(shlex.split(command), stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        print(f"The API key: {command}")
    if not wait(outputs["Url"], key):
        print(outputs["Dashboard"], file=sys.stderr)
        raise SystemExit(1)


if __name__ == "__main__":
    main()
