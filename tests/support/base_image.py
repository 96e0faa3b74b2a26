"""A Debian reduced to what AWS's base image for Python 3.13 is known to hold; base_image.toml lists
it with its sources.
"""

import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

from tests.support.emulator import emulator_path

BASE = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
COMMANDS = {command for commands in BASE["commands"].values() for command in commands}
# As in AWS's image, the first script starts the emulator outside Lambda, and the second names the
# runtime.
SCRIPTS = {
    "lambda-entrypoint.sh": (
        """#!/bin/sh
test $# -eq 1 || { echo "entrypoint takes one argument: the handler"; exit 142; }
export _HANDLER="$1"
test -n "$AWS_LAMBDA_RUNTIME_API" || exec /usr/local/bin/aws-lambda-rie /var/runtime/bootstrap
exec /var/runtime/bootstrap
"""
    ),
    "var/runtime/bootstrap": (
        """#!/bin/bash
export AWS_EXECUTION_ENV=AWS_Lambda_python3.13
exec /var/lang/bin/python3.13 /var/runtime/bootstrap.py
"""
    ),
    "var/runtime/bootstrap.py": (
        """import os, sys
sys.path.insert(0, os.environ["LAMBDA_TASK_ROOT"])
from awslambdaric.__main__ import main
main(["awslambdaric", os.environ["_HANDLER"]])
"""
    ),
    "var/lang/bin/pip3": (
        """#!/bin/sh
exec /var/lang/bin/python3 -m pip "$@"
"""
    ),
}


def reduce(root: Path, cpu: str) -> None:
    """Turns an unpacked Debian 13 for that processor (x86_64 or aarch64) into the stand-in."""
    binaries = root / "usr/bin"
    lang = root / "var/lang"
    library = lang / "lib/python3.13"
    site = lang / "lib/python3.13/site-packages"
    for folder in (
        lang / "bin",
        lang / "lib/python3",
        root / "var/runtime",
        root / "var/task",
        root / "usr/local/bin",
    ):
        folder.mkdir(parents=True, exist_ok=True)
    (root / "usr/lib/python3.13").rename(library)
    (library / "EXTERNALLY-MANAGED").unlink()
    (root / "usr/lib/python3/dist-packages").rename(site)
    # Debian's pip reads the certificates of its system; AWS's brings its own, as pip itself does.
    for path in (site / "packaging", site / "wheel", *site.glob("pip*")):
        shutil.rmtree(path)
    # Debian's Python looks for packages under this name.
    (lang / "lib/python3/dist-packages").symlink_to("../python3.13/site-packages")
    (binaries / "python3.13").rename(lang / "bin/python3.13")
    for name in ("python3", "python"):
        (lang / "bin" / name).symlink_to("python3.13")
    _remove_commands(root)
    (binaries / "sh").unlink(missing_ok=True)
    (binaries / "sh").symlink_to("bash")
    shutil.copy(emulator_path(cpu), root / "usr/local/bin/aws-lambda-rie")
    wheels = [
        "--only-binary=:all:",
        "--python-version",
        "3.13",
        "--platform",
        f"manylinux2014_{cpu}",
    ]
    packages = [*(f"{name}=={version(name)}" for name in ("awslambdaric", "boto3")), "pip==26.1"]
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            *wheels,
            "--target",
            site,
            *packages,
        ],
        check=True,
        capture_output=True,
    )
    for name, text in SCRIPTS.items():
        (root / name).write_text(text)
        (root / name).chmod(0o755)


def _remove_commands(root: Path) -> None:
    """Removes every program that is not on the list, wherever it lies; Python and shared objects
    stay.
    """
    for folder in ("usr/sbin", "usr/libexec", "usr/share/perl5", "var/lib/dpkg", "etc"):
        shutil.rmtree(root / folder, ignore_errors=True)
    for folder in ("usr/sbin", "etc", "tmp"):
        (root / folder).mkdir(exist_ok=True)
    for path in [*root.rglob("*")]:
        if path.is_relative_to(root / "var/lang") or (path.is_dir() and not path.is_symlink()):
            continue
        is_command = path.parent == root / "usr/bin"
        is_program = (
            not path.is_symlink() and path.stat().st_mode & 0o111 and ".so" not in path.name
        )
        if (is_command or is_program) and not (is_command and path.name in COMMANDS):
            path.unlink()
