"""An AWS account on this machine, for the real command lines of AWS and of the CDK: ministack as
AWS's control plane, docker-registry as ECR, dnsmasq and a TLS front for AWS's names, podman as the
builder and for the functions' containers.

All of it listens on the loopback device alone. It runs in a mount namespace of its own, in which
AWS's names lead to this machine.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.account_files import ADDRESS, configure
from tests.support.container import needs_podman
from tests.support.emulator import free_port
from tests.support.image_store import HOME, base, push_base
from tests.support.machine import run
from tests.support.requests import ROOT


class Account:
    """`folder`: a fresh clone, in which `run` runs."""

    def __init__(self, process: int, variables: Mapping[str, str], folder: Path) -> None:
        self.folder = folder
        self._process = process
        self.variables = dict(variables)

    def run(
        self, *command: str, check: bool = True, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """A command in the clone, signed in to the account."""
        done = subprocess.run(
            ["nsenter", "-t", str(self._process), "-m", f"--wd={self.folder}", *command],
            env=self.variables | variables,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode:
            pytest.fail(
                f"{' '.join(command)} failed with {done.returncode}:\n{done.stdout[-4000:]}"
                f"{done.stderr[-4000:]}"
            )
        return done


@contextmanager
def account(folder: Path) -> Iterator[Account]:
    """An empty account, gone afterwards with all that ran in it."""
    needs_podman(
        docker_registry="docker-registry",
        dnsmasq="dnsmasq-base",
        nsenter="util-linux",
        buildah="buildah",
        debootstrap="debootstrap",
        ss="iproute2",
    )
    ports = {name: free_port() for name in ("control", "registry", "index")}
    environment = configure(**ports)
    base("x86_64")
    with (HOME / "services.log").open("wb") as log:
        services = subprocess.Popen(
            ["unshare", "--mount", "bash", HOME / "services.sh"],
            env=environment,
            cwd=HOME,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        for port in ports.values():
            _wait_for("127.0.0.1", port, services)
        _wait_for(ADDRESS, 443, services)
        push_base(f"127.0.0.1:{ports['registry']}/lambda/python:3.13")
        yield Account(services.pid, environment, folder)
    finally:
        inside = ["nsenter", "-t", str(services.pid), "-m", "podman", "rm", "--all", "--force"]
        subprocess.run([*inside, "--time", "0"], env=environment, check=False, capture_output=True)
        os.killpg(services.pid, signal.SIGTERM)
        services.wait(30)


def _wait_for(address: str, port: int, services: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and services.poll() is None:
        try:
            socket.create_connection((address, port), 1).close()
            return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"Nothing listens on {address}:{port}:\n{(HOME / 'services.log').read_text()}")


def clone(folder: Path) -> None:
    """The repository as it is, committed, with what git doesn't know left out."""
    listed = run(
        *("git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    )
    for name in filter(None, listed.split("\0")):
        source = ROOT / name
        if source.exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, folder / name)
            # For its owner alone, as in the image's own tests, with which it then shares layers.
            (folder / name).chmod(source.stat().st_mode & 0o700)
    git = ("git", "-C", folder, "-c", "user.name=a", "-c", "user.email=a@example.org")
    run(*git, "init", "--quiet", "--initial-branch=main")
    run(*git, "add", "--all")
    run(*git, "commit", "--quiet", "--message=The repository")


def processes() -> set[int]:
    """Those that were started with an account's variables and still run."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if str(HOME).encode() in path.read_bytes():
                found.add(int(path.parent.name))
        except OSError:
            continue
    return found


def listening() -> set[str]:
    """The addresses on which these listen."""
    ours = processes()
    return {
        line.split()[3].rpartition(":")[0]
        for line in run("ss", "-ltnHp").splitlines()
        if ours.intersection(map(int, re.findall(r"pid=(\d+)", line)))
    }
