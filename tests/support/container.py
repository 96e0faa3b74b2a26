"""Containers of the image: in a sandbox like Lambda's, or as compose.yaml runs it."""

import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.emulator import LAMBDA
from tests.support.image_store import BUILDAH, CERTIFICATES, STORE
from tests.support.machine import needs, run
from tests.support.requests import ROOT

PODMAN = ("podman", *STORE, "--runtime", "runc")


def needs_podman(**others: str) -> None:
    """Podman with its networks from the first call on, since it keeps the kind of network that it
    finds then; and packages of other commands.
    """
    needs(
        podman="podman",
        runc="runc",
        netavark="netavark",
        aardvark_dns="aardvark-dns",
        iptables="iptables",
        **others,
    )


@contextmanager
def running(name: str, *options: str) -> Iterator[str]:
    """A container in a sandbox like Lambda's, without a network; `options` are podman's.

    Read-only but for /tmp; no /dev/shm, no processors in /sys; 1024 file descriptors and processes;
    a user without rights; 2 GB.
    """
    needs_podman()
    container = f"classifier-{uuid.uuid4()}"
    run(
        *PODMAN,
        "run",
        "--detach",
        "--name",
        container,
        "--read-only",
        "--read-only-tmpfs=false",
        "--tmpfs",
        "/tmp",
        "--ipc",
        "none",
        "--security-opt",
        "mask=/sys/devices/system/cpu",
        "--cap-drop",
        "all",
        "--security-opt",
        "no-new-privileges",
        "--user",
        "993:990",
        "--memory",
        "2g",
        "--network",
        "none",
        "--ulimit",
        "nofile=1024:1024",
        "--ulimit",
        "nproc=1024:1024",
        *(f"--env={key}={value}" for key, value in LAMBDA.items()),
        *options,
        name,
    )
    try:
        yield container
    finally:
        run(*PODMAN, "rm", "--force", "--time", "0", container)


@contextmanager
def composed(name: str, **variables: str) -> Iterator[str]:
    """The services of compose.yaml, with an image that is built already; the container's name."""
    needs_podman()
    project = f"classifier-{uuid.uuid4()}"
    run(*BUILDAH, "tag", name, f"localhost/{project}_classifier")
    # runc may not raise this machine's limits. Debian's pip, unlike AWS's, reads the certificates
    # of its system.
    options = "--ulimit nofile=1024:1024 --ulimit nproc=1024:1024"
    if CERTIFICATES.exists():
        options += f" --volume {CERTIFICATES}:{CERTIFICATES}:ro"
    compose = (
        sys.executable,
        "-m",
        "podman_compose",
        "--project-name",
        project,
        "--file",
        ROOT / "compose.yaml",
        "--podman-args",
        " ".join([*STORE, "--runtime", "runc"]),
        "--podman-run-args",
        options,
    )
    try:
        run(*compose, "up", "--no-build", "--detach", env=os.environ | variables)
        yield f"{project}_classifier_1"
    finally:
        run(*compose, "down", "--volumes", env=os.environ | variables)


# There is no network to come in by: the caller runs inside.
CALL = """import sys, urllib.request
url = "http://127.0.0.1:8080/2015-03-31/functions/function/invocations"
print(urllib.request.urlopen(url, sys.stdin.buffer.read(), timeout=600).read().decode())"""


def inside(container: str, script: str, stdin: str = "") -> str:
    """What a Python script prints in the running container."""
    return run(*PODMAN, "exec", "-i", container, "python3", "-c", script, input=stdin)


def invoke(container: str, event: str) -> str:
    """The function's answer to an event, both as JSON."""
    return inside(container, CALL, event)
