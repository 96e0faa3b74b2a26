"""The image as it is deployed: built by the real Dockerfile on a strict base, run in a sandbox like
Lambda's, looked into, weighed.
"""

from pathlib import Path

import pytest

from tests.support.base_image import COMMANDS
from tests.support.image_store import BUILDAH, BUILDER, STAND_IN, base, build, mounted, stand_in
from tests.support.machine import run


def test_the_stand_in_holds_only_what_aws_is_known_to_hold() -> None:
    stand_in()
    for architecture in ("x86_64", "arm64"):
        with mounted(f"{STAND_IN}:{architecture}") as root:
            programs = {
                path.relative_to(root).as_posix()
                for path in root.rglob("*")
                if path.is_file()
                and path.stat().st_mode & 0o111
                and ".so" not in path.name
                and not path.is_relative_to(root / "var/lang/lib")
            }
            allowed = {f"usr/bin/{command}" for command in COMMANDS} | {
                f"var/lang/bin/{name}" for name in ("python", "python3", "python3.13", "pip3")
            }
            allowed |= {
                "usr/local/bin/aws-lambda-rie",
                "lambda-entrypoint.sh",
                "var/runtime/bootstrap",
                "var/runtime/bootstrap.py",
            }
            assert programs <= allowed
            assert {"usr/bin/bash", "usr/bin/ls", "var/lang/bin/python3"} <= programs


def test_on_this_processor_one_image_builds_and_is_built_on_so_that_layers_are_shared() -> None:
    base("x86_64")
    shown = (*BUILDAH, "inspect", "--type", "image", "--format", "{{.FromImageID}}")
    assert run(*shown, f"{BUILDER}:x86_64") == run(*shown, f"{STAND_IN}:x86_64")


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        ("find . -type d -name tests -prune -exec rm -r {} +", "find"),
        (
            (
                "tar --version || which ls || ps || gzip --help || perl -v || apt-get --version ||"
                " dpkg -l || xargs true"
            ),
            "xargs",
        ),
        ("/usr/bin/python3 --version", "/usr/bin/python3"),
        ("ls / && python3 -m pip --version && pip3 --version", None),
    ],
)
def test_a_dockerfile_that_runs_what_aws_does_not_have_fails(
    tmp_path: Path, command: str, missing: str | None
) -> None:
    stand_in()
    (tmp_path / "Dockerfile").write_text(f"ARG BASE_IMAGE\nFROM $BASE_IMAGE\nRUN {command}\n")
    result = build(
        "localhost/refused",
        tmp_path / "Dockerfile",
        tmp_path,
        "x86_64",
        {"BASE_IMAGE": f"{STAND_IN}:x86_64"},
    )
    if missing is None:
        assert result.returncode == 0, result.stderr
    else:
        assert result.returncode
        assert (
            f"{missing}: command not found" in result.stderr
            or f"{missing}: No such file or directory" in result.stderr
        )
