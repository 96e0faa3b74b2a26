import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.deployment import Programs, check
from tests.support.requests import ROOT
from tools.deploy import checks, machine


def test_every_missing_program_is_named_at_once_with_what_to_install(tmp_path: Path) -> None:
    missing = check(
        Programs(tmp_path),
        "node",
        "docker",
        "buildx",
        "aws",
        "credentials",
        "region",
    )
    for name in ("node", "docker", "aws"):
        assert re.search(rf"^{name}: {name} is not installed\n  install ", missing, re.MULTILINE)
    # What can't be asked without them is left out.
    assert not re.search(r"^(buildx|credentials):", missing, re.MULTILINE)
    assert "export AWS_REGION" in missing


MACHINE = """import sys
sys.path.insert(0, sys.argv[1])
from tools.deploy.machine import main
main(sys.argv[2:])"""


def test_nothing_is_reported_if_everything_is_there(programs: Programs) -> None:
    for done in (
        programs.run_machine(*machine.CHECKS),
        programs.run("check", *checks.CHECKS),
    ):
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_machine_is_checked_with_the_standard_library_alone(tmp_path: Path) -> None:
    """On a bare clone, before anything is installed."""
    command = [sys.executable, "-I", "-S", "-c", MACHINE, str(ROOT), *machine.CHECKS]
    done = subprocess.run(
        command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("This is missing:\nnode: node is not installed")


@pytest.mark.parametrize(
    ("version", "accepted"),
    [("v20.20.2", False), ("v22.0.0", True), ("v24.1.0", True), ("v9.0.0", False), ("none", False)],
)
def test_node_must_be_new_enough(programs: Programs, version: str, accepted: bool) -> None:
    programs.add("node", f"echo {version}")
    assert check(programs, "node") == (
        ""
        if accepted
        else (
            f"This is missing:\nnode: Node.js is {version}, which is too old for the CDK\n  install"
            " Node.js 22 or newer: https://nodejs.org\n"
        )
    )


def test_the_message_of_a_program_that_fails_is_passed_on(programs: Programs) -> None:
    programs.add("docker", 'echo "Cannot connect to the Docker daemon" >&2; exit 1')
    assert "docker: Cannot connect to the Docker daemon\n  install Docker and start it" in check(
        programs, "docker", "buildx"
    )


@pytest.mark.parametrize("builder", ["podman", "finch"])
def test_other_builders_that_the_cdk_supports_need_no_buildx(
    programs: Programs, builder: str
) -> None:
    without = 'case "$1" in info) exit 0;; esac; echo "unknown command: $1" >&2; exit 1'
    programs.add(builder, without)
    assert check(programs, "docker", "buildx", CDK_DOCKER=builder) == ""
    programs.add("docker", without)
    assert "buildx: unknown command: buildx\n  install Docker's buildx" in check(
        programs, "docker", "buildx"
    )


def test_a_region_from_the_environment_is_enough(programs: Programs) -> None:
    programs.aws(configure__get=(1, ""))
    assert check(programs, "region", AWS_REGION="eu-central-1") == ""
    assert "export AWS_REGION" in check(programs, "region")
