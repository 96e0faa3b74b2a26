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

from tests.support.certificate import certificate
from tests.support.container import needs_podman
from tests.support.emulator import free_port
from tests.support.image_store import CERTIFICATES, HOME, base, push_base
from tests.support.machine import run
from tests.support.requests import ROOT

REGION = "eu-central-1"
PROGRAMS = ROOT / "build" / "stand-ins"
# Free on every machine; systemd-resolved has 127.0.0.53 and .54.
ADDRESS = "127.0.0.98"
# Of podman's own bridge, by which a function's container reaches the control plane.
BRIDGE = "10.88.0.1"
NODE = "22"
CONFIGURATION = {
    # Only runc starts in a sandbox, and only with limits that needn't be raised.
    "containers.conf": """[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
""",
    "storage.conf": f"""[storage]
driver = "overlay"
graphroot = "{HOME}/store"
runroot = "{HOME}/run"
""",
    # Without relative addresses pushes go to another scheme than they came by.
    "registry.yml": """version: 0.1
log:
  level: warn
storage:
  filesystem:
    rootdirectory: {home}/registry
http:
  addr: 127.0.0.1:{registry}
  relativeurls: true
""",
    "resolv.conf": f"nameserver {ADDRESS}\n",
    # Inside a sandbox a build may have no network of its own.
    "bin/podman": """#!/bin/sh
if [ "$1" = build ]; then shift; set -- build --isolation chroot --network host "$@"; fi
exec {podman} "$@"
""",
    "services.sh": """set -e
mount --bind {home}/resolv.conf /etc/resolv.conf
dnsmasq --no-resolv --no-hosts --listen-address={address} --bind-interfaces {upstream} \\
  --address=/execute-api.{region}.amazonaws.com/{address} \\
  --address=/dkr.ecr.{region}.amazonaws.com/{address} \\
  --address=/public.ecr.aws/{address} --pid-file= --keep-in-foreground &
env --unset=REGISTRY_AUTH_FILE docker-registry serve {home}/registry.yml &
{python} -P {support}/account_front.py {address} {home} {control} {registry} &
podman system service --time=0 unix://{home}/podman.sock &
sleep 1
exec {python} -P {support}/account_control.py {registry}
""",
}


class Account:
    """`folder`: a fresh clone, in which `run` runs."""

    def __init__(self, process: int, variables: Mapping[str, str], folder: Path) -> None:
        self.folder = folder
        self._process = process
        self._variables = dict(variables)

    def run(
        self, *command: str, check: bool = True, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """A command in the clone, signed in to the account."""
        done = subprocess.run(
            ["nsenter", "-t", str(self._process), "-m", f"--wd={self.folder}", *command],
            env=self._variables | variables,
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
    )
    ports = {"control": free_port(), "registry": free_port()}
    environment = _configure(**ports)
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


def _configure(control: int, registry: int) -> dict[str, str]:
    """Writes the configuration; returns the variables of who is signed in."""
    known = re.findall(r"^nameserver (\S+)", Path("/etc/resolv.conf").read_text(), re.MULTILINE)
    values = {
        "home": HOME,
        "control": control,
        "registry": registry,
        "address": ADDRESS,
        "region": REGION,
        "upstream": " ".join(f"--server={server}" for server in known),
        "podman": shutil.which("podman"),
        "python": PROGRAMS / "bin" / "python",
        "support": Path(__file__).parent,
    }
    for name, text in CONFIGURATION.items():
        file = HOME / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text.format(**values) if "{home}" in text or "{podman}" in text else text)
        file.chmod(0o755)
    names = [f"*.execute-api.{REGION}.amazonaws.com", f"*.dkr.ecr.{REGION}.amazonaws.com"]
    certificate(HOME, *names, "public.ecr.aws")
    trusted = HOME / "trusted.pem"
    system = CERTIFICATES.read_text() if CERTIFICATES.exists() else ""
    trusted.write_text(system + (HOME / "certificate.pem").read_text())
    certificates = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT")
    path = [HOME / "bin", _node() / "bin", PROGRAMS / "bin", os.environ["PATH"]]
    kept = ("HOME", "LANG", "PIP_FIND_LINKS", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")
    return {
        **{name: os.environ[name] for name in kept if name in os.environ},
        **dict.fromkeys((*certificates, "NODE_EXTRA_CA_CERTS"), str(trusted)),
        "PATH": ":".join(map(str, path)),
        "TMPDIR": str(HOME),
        "CI": "true",
        "CDK_DOCKER": "podman",
        "CDK_HOME": str(HOME / "cdk"),
        "CONTAINERS_CONF": str(HOME / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(HOME / "storage.conf"),
        "REGISTRY_AUTH_FILE": str(HOME / "registry-login.json"),
        "DOCKER_HOST": f"unix://{HOME}/podman.sock",
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "000000000000",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_CONFIG_FILE": "/nowhere",
        "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{control}",
        "MINISTACK_HOST": f"{REGION}.amazonaws.com",
        "MINISTACK_REGION": REGION,
        "GATEWAY_PORT": str(control),
        "BIND_HOST": "127.0.0.1",
        # Podman before 4.7 has no host-gateway.
        "LAMBDA_DOCKER_FLAGS": f"--add-host host.docker.internal:{BRIDGE}",
    }


def _node() -> Path:
    """A folder whose bin/node is new enough: this machine's, or one that npm has."""
    node = shutil.which("node")
    if node and int(run(node, "--version")[1:].partition(".")[0]) >= int(NODE):
        return Path(node).parent.parent
    folder = ROOT / "build" / "node"
    if not (folder / "bin" / "node").exists():
        run("npm", "install", "--no-audit", "--no-fund", "--prefix", folder, f"node@{NODE}")
        (folder / "bin").symlink_to("node_modules/node/bin")
    return folder


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
