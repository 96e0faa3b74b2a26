"""The account's role with which API Gateway writes logs, one for all APIs of a region."""

import json
import time
from collections.abc import Callable
from pathlib import Path

from tools.deploy.aws import AwsError, aws
from tools.deploy.machine import CheckError

ROOT = Path(__file__).parent.parent.parent
CDK_JSON = ROOT / "cdk.json"
LOGGING_STACK = "api-gateway-logging"
TEMPLATE = ROOT / "stacks" / "logging_role.yaml"
# Of a stack that never was whole: it can only be deleted.
NEVER_MADE = ("CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED")


def logging_role() -> str | None:
    """The ARN of the role with which API Gateway writes logs; None if there is none or it was
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


def make_logging_role(
    cdk_json: Path = CDK_JSON, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Makes the account's role for logs if there is none, with the tags and the permissions
    boundary in cdk.json.
    """
    if role := logging_role():
        print(f"API Gateway writes its logs with {role}.")
        return
    configuration = json.loads(cdk_json.read_text(encoding="utf-8"))
    options = [
        "--template-file",
        str(TEMPLATE),
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
        _remove_failed()
        try:
            print(aws("cloudformation", "deploy", "--stack-name", LOGGING_STACK, *options))
            return
        except AwsError as err:
            if attempt == 2 or err.code:
                raise
            print("The new role is perhaps not known everywhere yet; trying once more.")
            sleep(20)


def _remove_failed() -> None:
    """Deletes what an earlier attempt left, which can't be updated. Raises CheckError for any other
    stack of that name.
    """
    query = "Stacks[0].[StackStatus, Description]"
    name = ("--stack-name", LOGGING_STACK)
    try:
        found = aws(
            "cloudformation", "describe-stacks", *name, "--query", query, "--output", "json"
        )
    except AwsError as err:
        if err.code == "ValidationError":
            return
        raise
    status, description = json.loads(found)
    ours = f"Description: {description}" in TEMPLATE.read_text(encoding="utf-8").splitlines()
    if not ours or status not in NEVER_MADE:
        kind = "was made by this project" if ours else "is not of this project"
        raise CheckError(
            "API Gateway has no role to write logs with, and in the way is a stack"
            f" {LOGGING_STACK} that {kind}, in the state {status}\n  if"
            " nothing needs it, delete it and run this again:"
            f" aws cloudformation delete-stack --stack-name {LOGGING_STACK}"
        )
    aws("cloudformation", "delete-stack", *name)
    aws("cloudformation", "wait", "stack-delete-complete", *name)
