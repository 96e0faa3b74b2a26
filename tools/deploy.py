"""What surrounds a deployment: checks before it, the account's role for logs, and the first call
after it.
"""

import argparse
import base64
import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import requests

from classifier.contract.bundle import BundleError, read_manifest
from stacks.bundle import deployed_classifiers
from stacks.settings import Settings, SettingsError

ROOT = Path(__file__).parent.parent
CDK_JSON = ROOT / "cdk.json"
PICTURE = ROOT / "examples" / "images" / "dog.jpg"
LABELS = ["a dog", "a cat", "food"]
# A new key and a new name take a minute or two to be known everywhere.
PATIENCE_S = 300.0
LONGEST_PAUSE_S = 15.0
# Errors in the request itself, which repeating doesn't mend.
NON_RETRYABLE = {400, 413, 415}
MIN_NODE = 22
# https://docs.aws.amazon.com/cdk/v2/guide/bootstrapping-env.html: what the templates of this CDK
# ask for.
MIN_BOOTSTRAP = 6
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html: what must stay
# unreserved.
MIN_UNRESERVED = 100
LOGGING_STACK = "api-gateway-logging"
# Error codes of AWS that have a remedy of their own.
REMEDIES = {
    "ExpiredToken": "Sign in again (aws login, aws sso login).",
    "ExpiredTokenException": "Sign in again (aws login, aws sso login).",
    "RequestExpired": "Sign in again (aws login, aws sso login), and check this machine's clock.",
    "AccessDenied": "Ask for this permission, or sign in as somebody who has it.",
    "AccessDeniedException": "Ask for this permission, or sign in as somebody who has it.",
    "UnauthorizedOperation": "Ask for this permission, or sign in as somebody who has it.",
    "Throttling": "AWS limits how often this can be asked; try again in a minute.",
    "ThrottlingException": "AWS limits how often this can be asked; try again in a minute.",
    "TooManyRequestsException": "AWS limits how often this can be asked; try again in a minute.",
}


class CheckError(Exception):
    """Something that a deployment needs isn't there. The message ends with what to do."""


class AwsError(CheckError):
    """The AWS CLI failed; `code` is AWS's error code, or empty where the CLI failed by itself."""

    def __init__(self, command: Sequence[str], stderr: str) -> None:
        # "An error occurred (AccessDeniedException) when calling the GetAccount operation: …"
        match = re.search(r"An error occurred \((\w+)\)", stderr)
        self.code = match[1] if match else ""
        message = " ".join(stderr.split()) or "it failed without a message"
        super().__init__(
            f"{' '.join(command)}: {message}\n "
            f" {REMEDIES.get(self.code, 'Run this command by hand to see more.')}"
        )


def run(command: Sequence[str], remedy: str) -> str:
    """What a program prints. Raises CheckError with its own message and the remedy."""
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


def aws(*arguments: str) -> str:
    """What the AWS CLI prints. Raises AwsError with AWS's error code."""
    done = subprocess.run(["aws", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise AwsError(["aws", *arguments[:2]], done.stderr)
    return done.stdout.strip()


def docker() -> str:
    """The program that the CDK builds images with."""
    return os.environ.get("CDK_DOCKER", "docker")


def context() -> dict[str, Any]:
    """The context in cdk.json."""
    values: dict[str, Any] = json.loads(CDK_JSON.read_text(encoding="utf-8"))["context"]
    return values


def check_node(_: Settings) -> None:
    remedy = f"install Node.js {MIN_NODE} or newer: https://nodejs.org"
    version = run(["node", "--version"], remedy)
    major = re.match(r"v(\d+)\.", version)
    if not major or int(major[1]) < MIN_NODE:
        raise CheckError(f"Node.js is {version}, which is too old for the CDK\n  {remedy}")


def check_docker(_: Settings) -> None:
    run(
        [docker(), "info"],
        "install Docker and start it: https://docs.docker.com/get-started/get-docker/",
    )


def check_buildx(_: Settings) -> None:
    """Docker alone needs the plug-in; finch and podman build with what they bring."""
    if Path(docker()).name == "docker":
        run(
            [docker(), "buildx", "version"],
            "install Docker's buildx: https://github.com/docker/buildx#installing",
        )


def check_aws(_: Settings) -> None:
    run(["aws", "--version"], "install the AWS CLI, version 2: https://docs.aws.amazon.com/cli/")


def check_credentials(_: Settings) -> None:
    run(
        ["aws", "sts", "get-caller-identity"],
        "sign in (aws login, aws sso login) or run: aws configure",
    )


def check_region(settings: Settings) -> None:
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ""
    if not region:
        remedy = (
            "name one: export AWS_REGION=eu-central-1, or aws configure set region eu-central-1"
        )
        region = run(["aws", "configure", "get", "region"], remedy)
    settings.check_region(region)


def check_bootstrap(_: Settings) -> None:
    """CDK's own stack in this account and region, without which `cdk deploy` fails after the long
    export.
    """
    qualifier = context().get("@aws-cdk/core:bootstrapQualifier", "hnb659fds")
    name = f"/cdk-bootstrap/{qualifier}/version"
    try:
        version = aws(
            "ssm", "get-parameter", "--name", name, "--query", "Parameter.Value", "--output", "text"
        )
    except AwsError as err:
        if err.code == "ParameterNotFound":
            raise CheckError(
                "the CDK is not set up in this account and region\n  run once: make bootstrap"
            ) from err
        if err.code.startswith("AccessDenied"):
            # The CDK reads it with a role of its own, which may be allowed more.
            print(f"Can't tell whether the CDK is set up here: {err}", file=sys.stderr)
            return
        raise
    if not version.isdecimal() or int(version) < MIN_BOOTSTRAP:
        raise CheckError(
            f"the CDK's set-up in this account and region has version {version}, which is too old\n"
            "  run: make bootstrap"
        )


def logging_role() -> str | None:
    """The ARN of the role with which API Gateway writes logs; None where there is none or it was
    deleted.
    """
    role = aws("apigateway", "get-account", "--query", "cloudwatchRoleArn", "--output", "text")
    if role in ("None", ""):
        return None
    try:
        aws(
            "iam",
            "get-role",
            "--role-name",
            role.rpartition("/")[2],
            "--query",
            "Role.Arn",
            "--output",
            "text",
        )
    except AwsError as err:
        if err.code == "NoSuchEntity":
            return None
        # Somebody who may not look at roles: the account names one, and replacing it could cost
        # other APIs their logs.
        if not err.code.startswith("AccessDenied"):
            raise
    return role


def check_logging_role(_: Settings) -> None:
    if not logging_role():
        raise CheckError(
            "API Gateway has no role to write logs with in this account and region\n  run once:"
            " make bootstrap"
        )


def check_concurrency(settings: Settings) -> None:
    """Refuses what the account's quota can't hold, which would roll the stack back, and warns of a
    burst that it can't serve.
    """
    try:
        limits = json.loads(
            aws("lambda", "get-account-settings", "--query", "AccountLimit", "--output", "json")
        )
    except AwsError as err:
        if not err.code.startswith("AccessDenied"):
            raise
        print(f"Can't tell how many environments the account may run: {err}", file=sys.stderr)
        return
    quota = limits["ConcurrentExecutions"]
    unreserved = limits["UnreservedConcurrentExecutions"]
    name = "reserved_concurrency" if settings.reserved_concurrency else "provisioned_concurrency"
    wanted = settings.reserved_concurrency or settings.provisioned_concurrency or 0
    free = max(0, unreserved - min(MIN_UNRESERVED, quota))
    if wanted > free:
        free += _already_taken(settings.name)
    if wanted > free:
        fits = (
            f"at most {free} fit: SETTINGS={name}={free}"
            if free
            else f"none fits: leave {name} out"
        )
        raise CheckError(
            f"{name}={wanted} is more than this account can spare: its quota is {quota},"
            f" {unreserved} are not reserved, and {min(MIN_UNRESERVED, quota)} of them must stay"
            f" so\n  {fits}; or ask for a higher quota:"
            " https://console.aws.amazon.com/servicequotas/home/services/lambda/quotas/L-B99A9384"
        )
    serves = settings.reserved_concurrency or unreserved
    if settings.throttle_burst > serves:
        print(
            f"Note: {serves} environments can run at once, and"
            f" throttle_burst={settings.throttle_burst} lets more calls in; those that "
            f'find none free get a 500. SETTINGS="throttle_burst={serves}" answers them with a 429'
            " instead."
        )


def _already_taken(stack: str) -> int:
    """What the stack's function has reserved or provisioned; 0 before the first deployment."""
    query = "StackResources[?ResourceType=='AWS::Lambda::Function'].PhysicalResourceId"
    try:
        arguments = [
            "cloudformation",
            "describe-stack-resources",
            "--stack-name",
            stack,
            "--query",
            query,
            "--output",
            "text",
        ]
        function = aws(*arguments)
        reserved = aws(
            "lambda", "get-function-concurrency", "--function-name", function, "--output", "json"
        )
    except AwsError as err:
        if err.code in ("ValidationError", "ResourceNotFoundException"):
            return 0
        raise
    return int(json.loads(reserved or "{}").get("ReservedConcurrentExecutions", 0))


def check_classifiers(settings: Settings) -> None:
    """Before the model is made, which takes long, only what doesn't depend on it."""
    manifest = None
    with contextlib.suppress(BundleError):
        manifest = read_manifest(ROOT / settings.bundle, verify_hashes=False)
    deployed_classifiers(ROOT, settings, manifest)


CHECKS: Mapping[str, Callable[[Settings], None]] = {
    "classifiers": check_classifiers,
    "node": check_node,
    "docker": check_docker,
    "buildx": check_buildx,
    "aws": check_aws,
    "credentials": check_credentials,
    "region": check_region,
    "bootstrap": check_bootstrap,
    "logging-role": check_logging_role,
    "concurrency": check_concurrency,
}
# A check that can't succeed after another one failed.
NEEDS = {
    "buildx": "docker",
    "credentials": "aws",
    "bootstrap": "credentials",
    "logging-role": "credentials",
    "concurrency": "credentials",
}


def check(names: Sequence[str], settings: Settings) -> list[str]:
    """Every problem that was found, each with what to do about it."""
    problems: dict[str, str] = {}
    for name in names:
        needed = NEEDS.get(name)
        while needed and needed not in problems:
            needed = NEEDS.get(needed)
        if needed:
            continue
        try:
            CHECKS[name](settings)
        except (CheckError, SettingsError) as err:
            problems[name] = f"{name}: {err}"
    return list(problems.values())


def make_logging_role(
    cdk_json: Path = CDK_JSON, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Makes the account's role for logs where there is none, with the tags and the permissions
    boundary in cdk.json.
    """
    if role := logging_role():
        print(f"API Gateway writes its logs with {role}.")
        return
    configuration = json.loads(cdk_json.read_text(encoding="utf-8"))
    options = [
        "--template-file",
        str(ROOT / "stacks" / "logging_role.yaml"),
        "--capabilities",
        "CAPABILITY_IAM",
    ]
    if tags := configuration.get("tags"):
        options += ["--tags", *(f"{tag['Key']}={tag['Value']}" for tag in tags)]
    if boundary := configuration["context"].get("@aws-cdk/core:permissionsBoundary"):
        arn = boundary.get("arn")
        if not arn:
            _, partition, *_, account, _ = aws(
                "sts", "get-caller-identity", "--query", "Arn", "--output", "text"
            ).split(":")
            arn = f"arn:{partition}:iam::{account}:policy/{boundary['name']}"
        options += ["--parameter-overrides", f"PermissionsBoundary={arn}"]
    # A new role takes seconds to be known everywhere, and until then API Gateway refuses it.
    for attempt in (1, 2):
        # What an earlier attempt left can't be updated; its role and setting are retained.
        aws("cloudformation", "delete-stack", "--stack-name", LOGGING_STACK)
        aws("cloudformation", "wait", "stack-delete-complete", "--stack-name", LOGGING_STACK)
        try:
            print(aws("cloudformation", "deploy", "--stack-name", LOGGING_STACK, *options))
            return
        except AwsError as err:
            if attempt == 2 or err.code:
                raise
            print("The new role is perhaps not known everywhere yet; trying once more.")
            sleep(20)


def update_base(cdk_json: Path = CDK_JSON) -> str:
    """Pins today's base image by its digest, as base_image in cdk.json; returns it. Raises
    CheckError.
    """
    configuration = json.loads(cdk_json.read_text(encoding="utf-8"))
    current = configuration["context"].get(
        "base_image", Settings.model_fields["base_image"].default
    )
    image = current.partition("@")[0]
    remedy = (
        "Docker with buildx and a way to the registry are needed; a stale login is removed with:"
        " docker logout public.ecr.aws"
    )
    text = run(
        [docker(), "buildx", "imagetools", "inspect", image, "--format", "{{json .Manifest}}"],
        remedy,
    )
    manifest = json.loads(text)
    if not {"amd64", "arm64"} <= {
        part.get("platform", {}).get("architecture") for part in manifest.get("manifests", [])
    }:
        raise CheckError(
            f"{image} is not made for both arm64 and x86_64\n  set base_image to an image that is"
        )
    pinned = f"{image}@{manifest['digest']}"
    configuration["context"]["base_image"] = pinned
    cdk_json.write_text(json.dumps(configuration, indent=2) + "\n", encoding="utf-8")
    return pinned


class Signed(requests.auth.AuthBase):
    """Signs requests for API Gateway with the credentials and the region of the AWS CLI."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        # Takes a second to import, and few deployments need it.
        import botocore.session
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        session = botocore.session.get_session()
        host = re.search(r"\.execute-api\.([a-z0-9-]+)\.", str(request.url))
        region = (
            host[1]
            if host
            else os.environ.get("AWS_REGION") or session.get_config_variable("region")
        )
        # The signature covers these headers alone: proxies may change others.
        signed = AWSRequest(
            request.method,
            request.url,
            {"Content-Type": request.headers["Content-Type"]},
            request.body,
        )
        SigV4Auth(session.get_credentials(), "execute-api", region).add_auth(signed)
        request.headers.update(dict(signed.headers))
        return request


def ask(
    url: str, key: str | None, auth: requests.auth.AuthBase | None = None
) -> tuple[int, str, str]:
    """One classification: status, body and X-Model; 0 and the reason where no answer came at all.

    Raises CheckError for a certificate that this machine doesn't trust.
    """
    body = {"image_data": base64.b64encode(PICTURE.read_bytes()).decode(), "labels": LABELS}
    headers = {"Content-Type": "application/json"} | ({"x-api-key": key} if key else {})
    try:
        response = requests.post(
            url,
            json.dumps(body).encode(),
            headers=headers,
            auth=auth,
            timeout=30,
            allow_redirects=False,
        )
    except requests.exceptions.SSLError as err:
        # The servers of a new domain show API Gateway's own certificate at first.
        if "Hostname mismatch" in str(err):
            return 0, str(err), ""
        raise CheckError(
            f"This machine doesn't trust the certificate of {url}: {err}\n  The deployment itself"
            " succeeded. Behind a proxy that opens TLS, name its certificates: export"
            " REQUESTS_CA_BUNDLE=/path/to/certificates.pem"
        ) from err
    except requests.RequestException as err:
        return 0, str(err), ""
    return response.status_code, response.text, response.headers.get("X-Model", "")


def wait(
    url: str,
    key: str | None,
    *,
    model: str | None = None,
    auth: requests.auth.AuthBase | None = None,
    patience: float = PATIENCE_S,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Calls with growing pauses until `model` answers; prints the answer and its time."""
    print(f"Calling {url} until it answers:")
    began = time.monotonic()
    pause = 1.0
    while True:
        status, text, answered_by = ask(url, key, auth)
        spent = time.monotonic() - began
        old = status == 200 and model is not None and answered_by != model
        note = f"  (still {answered_by or 'the version before'}, not {model})" if old else ""
        print(f"  {spent:5.1f} s  {status or 'no answer'}  {text.strip()[:200]}{note}", flush=True)
        if status == 200 and not old:
            print(f"It answered after {spent:.1f} s.")
            return True
        if status in NON_RETRYABLE or spent + pause > patience:
            print(
                f"No answer after {spent:.1f} s. The function's log and the dashboard tell more.",
                file=sys.stderr,
            )
            return False
        sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_S)


def call_deployment(outputs: Mapping[str, str], bundle: Path) -> bool:
    """Calls a stack by its outputs until the new version of it answers. Raises CheckError."""
    if endpoint := outputs.get("VpcEndpoint"):
        print(f"Deployed. The API is private to {endpoint}: call {outputs['Url']} from its VPC.")
        return True
    # Until then Lambda runs the code of before:
    # https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html
    aws("lambda", "wait", "function-updated-v2", "--function-name", outputs["FunctionName"])
    key = None
    if command := outputs.get("ApiKeyCommand"):
        key = aws(*shlex.split(command)[1:])
        print(f"The API key: {command}")
    auth = Signed() if outputs.get("Authentication") == "iam" else None
    if wait(outputs["Url"], key, model=read_manifest(bundle, verify_hashes=False).name, auth=auth):
        return True
    print(outputs["Dashboard"], file=sys.stderr)
    return False


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    checks = commands.add_parser("check", help="report what is missing")
    checks.add_argument("names", nargs="+", choices=CHECKS)
    checks.add_argument(
        "-c",
        dest="settings",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="as for the CDK",
    )
    commands.add_parser(
        "logging-role", help="make the account's role for API Gateway's logs where there is none"
    )
    commands.add_parser("update-base", help="pin today's base image in cdk.json")
    waiting = commands.add_parser("wait", help="call a new deployment until it answers")
    waiting.add_argument("outputs", type=Path, help="cdk's --outputs-file")
    waiting.add_argument("bundle", type=Path, help="the bundle that was deployed")
    arguments = parser.parse_args(argv)
    try:
        if arguments.command == "check":
            settings = Settings.read(
                context() | dict(text.partition("=")[::2] for text in arguments.settings)
            )
            if problems := check(arguments.names, settings):
                sys.exit("\n".join(["This is missing:", *problems]))
        elif arguments.command == "logging-role":
            make_logging_role()
        elif arguments.command == "update-base":
            print(f"cdk.json now pins {update_base()}. Deploy it: make deploy-cdk")
        else:
            (outputs,) = json.loads(arguments.outputs.read_text(encoding="utf-8")).values()
            sys.exit(not call_deployment(outputs, arguments.bundle))
    except (CheckError, SettingsError) as err:
        sys.exit(f"error: {err}")


if __name__ == "__main__":
    main()
