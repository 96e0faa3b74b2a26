"""Deployments that CloudFormation takes back halfway, and the next ones."""

from tests.deployment.test_deploy import CLI, deploy, outputs
from tests.support.account import Account

# A new account is refused it when the function's turn comes.
TOO_MUCH = "SETTINGS=memory=4096"


def stack_status(aws: Account) -> str:
    named = ("--stack-name", "clip-classifier", "--query", "Stacks[0].StackStatus")
    return aws.run(*CLI, "cloudformation", "describe-stacks", *named).stdout.strip().strip('"')


def fails(aws: Account) -> None:
    refused = aws.run("make", "deploy-cdk", TOO_MUCH, check=False)
    assert refused.returncode
    assert "Member must have value less than or equal to 3008" in refused.stdout + refused.stderr
    assert "It answered after" not in refused.stdout


def test_a_first_deployment_that_fails_halfway_is_taken_back_and_the_next_one_made(
    aws: Account,
) -> None:
    aws.run("make", "bootstrap")
    fails(aws)
    assert stack_status(aws) == "ROLLBACK_COMPLETE"
    assert "It answered after" in deploy(aws)
    assert stack_status(aws) == "CREATE_COMPLETE"


def test_an_update_that_fails_halfway_leaves_the_old_version_and_the_next_one_is_made(
    aws: Account,
) -> None:
    before = outputs(aws)
    with (aws.folder / "lambdas/classifier/api/own.py").open("a") as file:
        file.write("# Changed, but refused.\n")
    fails(aws)
    assert stack_status(aws) == "UPDATE_ROLLBACK_COMPLETE"

    def build() -> str:
        headers = aws.run("curl", "-s", "-i", before["Url"] + "health").stdout
        (version,) = [line for line in headers.splitlines() if line.lower().startswith("x-version")]
        return version.rpartition("+")[2].strip()

    assert build() == before["Build"]
    assert "It answered after" in deploy(aws)
    assert build() == outputs(aws)["Build"] != before["Build"]
    aws.run("make", "destroy", "YES=1")
