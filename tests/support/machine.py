"""Commands of this machine, and the Debian packages that they come from."""

import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest


def run(*command: str | Path, **options: object) -> str:
    """What the command prints. Fails the test with all it said."""
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, check=False, **options
    )  # type: ignore[call-overload]
    if done.returncode:
        pytest.fail(
            f"{' '.join(map(str, command))} failed with"
            f" {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-5000:]}"
        )
    return str(done.stdout).strip()


def emulate_arm64() -> None:
    """Tells the kernel to run ARM64 programs in QEMU, as Debian's qemu-user-static does if
    systemd runs.
    """
    formats = Path("/proc/sys/fs/binfmt_misc")
    rule = Path("/usr/lib/binfmt.d/qemu-aarch64.conf")
    if not (formats / "register").exists():
        run("mount", "-t", "binfmt_misc", "binfmt_misc", formats)
    if not (formats / "qemu-aarch64").exists():
        (formats / "register").write_text(rule.read_text().strip())


def needs(**packages: str) -> None:
    """Installs the Debian packages of commands that are missing. Ends the whole run if it can't,
    since skipping would look green.
    """
    if os.geteuid() or platform.machine() != "x86_64" or not shutil.which("apt-get"):
        pytest.exit(
            "This needs root on an x86_64 Debian or Ubuntu: it builds and mounts container images.",
            returncode=1,
        )
    path = f"{os.environ['PATH']}:/usr/lib/podman"
    missing = [
        package
        for command, package in packages.items()
        if not shutil.which(command.replace("_", "-"), path=path)
    ]
    if missing:
        quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        run("apt-get", "update")
        run("apt-get", "install", "-y", "--no-install-recommends", *missing, env=quiet)
