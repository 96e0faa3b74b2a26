import json
from pathlib import Path

import pytest

from tests.support.deployment import (
    DENIED,
    EXPIRED,
    FAILURES,
    NO_ROLE,
    NO_STACK,
    ROLE,
    Programs,
    Reply,
    check,
)
from tools.deploy.account import TEMPLATE, make_logging_role
from tools.deploy.machine import CheckError

NO_CREDENTIALS = (
    253,
    'Unable to locate credentials. You can configure credentials by running "aws login".',
)


NOT_CREATED = (
    255,
    (
        "Failed to create/update the stack. Run the following command to fetch the list of events"
        " leading up to the failure aws cloudformation describe-stack-events --stack-name"
        " api-gateway-logging"
    ),
)


OURS = TEMPLATE.read_text(encoding="utf-8").splitlines()[0].removeprefix("Description: ")


def described(status: str, description: str | None = OURS) -> str:
    return json.dumps([status, description])


@pytest.mark.parametrize(
    ("account", "role"), [("None", ROLE), (ROLE, NO_ROLE)], ids=["none", "stale"]
)
def test_an_account_without_a_role_for_logs_is_told_to_bootstrap(
    programs: Programs, account: str, role: Reply
) -> None:
    programs.aws(apigateway__get_account=account, iam__get_role=role)
    assert "make bootstrap" in check(programs, "logging-role")


def test_a_role_that_may_not_be_looked_at_counts_as_there(programs: Programs) -> None:
    programs.aws(iam__get_role=DENIED)
    assert check(programs, "logging-role") == ""
    assert "--role-name api-gateway-logging-Role-1ABC " in programs.calls("aws iam get-role")[0]


@pytest.mark.parametrize("failure", [*FAILURES, "no credentials"])
def test_bootstrap_leaves_the_accounts_role_alone_if_it_cannot_tell(
    programs: Programs, failure: str
) -> None:
    programs.aws(
        apigateway__get_account=(
            NO_CREDENTIALS if failure == "no credentials" else FAILURES[failure][0]
        )
    )
    done = programs.run("logging-role")
    assert done.returncode == 1
    assert not programs.calls("aws cloudformation")


def test_bootstrap_keeps_a_role_that_is_there(programs: Programs) -> None:
    done = programs.run("logging-role")
    assert (done.returncode, done.stdout) == (0, f"API Gateway writes its logs with {ROLE}.\n")
    assert not programs.calls("aws cloudformation")


@pytest.mark.parametrize(
    ("account", "role"), [("None", ROLE), (ROLE, NO_ROLE)], ids=["none", "stale"]
)
def test_bootstrap_makes_a_role_if_there_is_none_or_it_was_deleted(
    programs: Programs, account: str, role: Reply
) -> None:
    programs.aws(apigateway__get_account=account, iam__get_role=role)
    assert programs.run("logging-role").returncode == 0
    looked, made = programs.calls("aws cloudformation")
    assert " describe-stacks " in looked
    assert made.endswith("stacks/logging_role.yaml --capabilities CAPABILITY_IAM")


def test_bootstrap_tries_once_more_if_iam_is_late(inside: Programs) -> None:
    pauses: list[float] = []
    inside.aws(
        apigateway__get_account="None",
        cloudformation__describe_stacks=[NO_STACK, described("ROLLBACK_COMPLETE")],
        cloudformation__deploy=[NOT_CREATED, "Successfully created"],
    )
    make_logging_role(sleep=pauses.append)
    assert pauses == [20]
    assert [call.split()[2] for call in inside.calls("aws cloudformation")] == [
        "describe-stacks",
        "deploy",
        "describe-stacks",
        "delete-stack",
        "wait",
        "deploy",
    ]


@pytest.mark.parametrize(
    ("status", "description", "removed"),
    [
        ("ROLLBACK_COMPLETE", OURS, True),
        ("DELETE_FAILED", OURS, True),
        ("CREATE_COMPLETE", OURS, False),
        ("UPDATE_IN_PROGRESS", OURS, False),
        ("ROLLBACK_COMPLETE", "Somebody else's", False),
        ("ROLLBACK_COMPLETE", None, False),
    ],
)
def test_bootstrap_deletes_only_a_stack_that_is_ours_and_failed(
    programs: Programs, status: str, description: str | None, removed: bool
) -> None:
    programs.aws(
        apigateway__get_account="None",
        cloudformation__describe_stacks=described(status, description),
    )
    done = programs.run("logging-role")
    assert (done.returncode == 0) == removed
    assert bool(programs.calls("aws cloudformation delete-stack")) == removed
    assert bool(programs.calls("aws cloudformation deploy")) == removed
    assert removed or f"in the state {status}" in done.stderr
    assert removed or "aws cloudformation delete-stack --stack-name" in done.stderr


@pytest.mark.parametrize(("reply", "attempts"), [(NOT_CREATED, 2), (DENIED, 1), (EXPIRED, 1)])
def test_bootstrap_gives_up_with_the_clis_message(
    inside: Programs, reply: tuple[int, str], attempts: int
) -> None:
    inside.aws(apigateway__get_account="None", cloudformation__deploy=reply)
    with pytest.raises(CheckError, match=reply[1][:20].replace("(", r"\(")):
        make_logging_role(sleep=lambda _: None)
    assert len(inside.calls("aws cloudformation deploy")) == attempts


@pytest.mark.parametrize(
    "boundary", [{"name": "developers"}, {"arn": "arn:aws:iam::123456789012:policy/developers"}]
)
def test_the_role_for_logs_takes_the_cdks_tags_and_permissions_boundary(
    inside: Programs, cdk_json: Path, boundary: dict[str, str]
) -> None:
    configuration = json.loads(cdk_json.read_text(encoding="utf-8"))
    configuration["tags"] = [{"Key": "team", "Value": "search"}, {"Key": "cost", "Value": "42"}]
    configuration["context"]["@aws-cdk/core:permissionsBoundary"] = boundary
    cdk_json.write_text(json.dumps(configuration), encoding="utf-8")
    inside.aws(apigateway__get_account="None")
    make_logging_role(cdk_json)
    (made,) = inside.calls("aws cloudformation deploy")
    assert (
        "--tags team=search cost=42 --parameter-overrides"
        " PermissionsBoundary=arn:aws:iam::123456789012:policy/developers" in made
    )
