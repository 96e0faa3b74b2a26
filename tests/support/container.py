"""The real image without Docker and without AWS's registry: buildah, and a Debian that stands in
for AWS's base image.
"""

import atexit
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from tests.support.base_image import BASE, reduce
from tests.support.emulator import LAMBDA
from tests.support.requests import ROOT
from tests.support.synthesis import image_source, synthesize

DEBIAN = ROOT / "build" / "debian"
STAND_IN = "localhost/stand-in"
# Runs here, but says that it is for the target: that is how buildah before 1.30, whose FROM
# --platform goes on to the last stage, can have two bases.
BUILDER = "localhost/builder"
# Not in the repository: CDK walks all of that when it synthesizes, and follows links in a root file
# system to the end.
HOME = Path(tempfile.mkdtemp(prefix="classifier-images-", dir="/var/tmp"))
STORE = ("--root", f"{HOME}/store", "--runroot", f"{HOME}/run", "--storage-driver", "overlay")
# What a failed build leaves goes with the rest.
BUILDAH = ("env", f"TMPDIR={HOME}", "buildah", *STORE)
PODMAN = ("podman", *STORE, "--runtime", "runc")
# A function's architecture, as Docker and Debian call it, and as wheels and the emulator do.
NAMES = {"x86_64": ("amd64", "x86_64"), "arm64": ("arm64", "aarch64")}
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


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


@atexit.register
def _remove_store() -> None:
    if shutil.which("buildah"):
        for command in (
            [*BUILDAH, "rm", "--all"],
            [*BUILDAH, "rmi", "--all", "--force"],
            ["umount", f"{HOME}/store/overlay"],
        ):
            subprocess.run(command, check=False, capture_output=True)
    shutil.rmtree(HOME)


def emulate_arm64() -> None:
    """Tells the kernel to run ARM64 programs in QEMU, as Debian's qemu-user-static does where
    systemd runs.
    """
    formats = Path("/proc/sys/fs/binfmt_misc")
    rule = Path("/usr/lib/binfmt.d/qemu-aarch64.conf")
    if not (formats / "register").exists():
        run("mount", "-t", "binfmt_misc", "binfmt_misc", formats)
    if not (formats / "qemu-aarch64").exists():
        (formats / "register").write_text(rule.read_text().strip())


def needs(**packages: str) -> None:
    """Installs the Debian packages of commands that are missing. Ends the whole run where it
    cannot: skipping would look green.
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


@cache
def stand_in() -> None:
    """Makes the store, and in it what stands in for AWS's base image: one that runs on x86_64, and
    one for ARM64.
    """
    needs(buildah="buildah", debootstrap="debootstrap")
    for architecture in NAMES:
        _base(architecture)


def _base(architecture: str) -> None:
    """Debian 13 has the Python that AWS's image has. Its packages are only unpacked, then reduced
    to what AWS's image holds.
    """
    debian, cpu = NAMES[architecture]
    archive = DEBIAN / f"{debian}.tar"
    container = run(*BUILDAH, "from", "--arch", debian, "scratch")
    root = Path(run(*BUILDAH, "mount", container))
    if archive.exists():
        run("tar", "-xf", archive, "-C", root)
    else:
        include = "--include=ca-certificates,python3,python3-pip"
        run(
            "debootstrap",
            "--download-only",
            "--variant=minbase",
            include,
            f"--arch={debian}",
            "trixie",
            root,
        )
        for package in (root / "var/cache/apt/archives").glob("*.deb"):
            run("dpkg-deb", "--extract", package, root)
            package.unlink()
        DEBIAN.mkdir(parents=True, exist_ok=True)
        run("tar", "-cf", f"{archive}.part", "-C", root, ".")
        Path(f"{archive}.part").rename(archive)
    reduce(root, cpu)
    variables = [f"--env={name}={value}" for name, value in BASE["environment"].items()]
    settings = ["--workingdir", "/var/task", "--entrypoint", '["/lambda-entrypoint.sh"]']
    run(*BUILDAH, "config", "--arch", debian, *variables, *settings, container)
    run(*BUILDAH, "commit", "-q", container, f"{STAND_IN}:{architecture}")
    for target in NAMES if architecture == "x86_64" else ():
        run(*BUILDAH, "config", "--arch", NAMES[target][0], container)
        run(*BUILDAH, "commit", "-q", container, f"{BUILDER}:{target}")
    run(*BUILDAH, "rm", container)


@cache
def image(architecture: str, bundle: Path) -> str:
    """Builds from what `cdk synth` stages, the Dockerfile as it is; the image's name."""
    stand_in()
    template = synthesize(
        Path(tempfile.mkdtemp(dir=HOME)),
        bundle=bundle.relative_to(ROOT).as_posix(),
        architecture=architecture,
    )
    source = image_source(template)
    context = Path(source["directory"])
    # As some check files out: for their owner alone.
    for path in context.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    name = f"localhost/classifier-{bundle.name.lower()}:{architecture}"
    arguments = source["dockerBuildArgs"] | {"BASE_IMAGE": f"{STAND_IN}:{architecture}"}
    result = build(name, context / source["dockerFile"], context, architecture, arguments)
    if result.returncode:
        pytest.fail(f"The image can't be built:\n{result.stdout[-3000:]}{result.stderr[-5000:]}")
    return name


def build(
    name: str, dockerfile: Path, context: Path, architecture: str, arguments: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """The first stage's base runs here; the last one's, the argument BASE_IMAGE, is the target's,
    where a RUN would fail.
    """
    # pip runs inside and trusts what this machine trusts.
    trusted = ["--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro"] if CERTIFICATES.exists() else []
    command = [
        *BUILDAH,
        "build",
        "--isolation",
        "chroot",
        "--network",
        "host",
        *trusted,
        "--layers",
        "--pull=never",
        "--from",
        f"{BUILDER}:{architecture}",
        "--platform",
        f"linux/{NAMES[architecture][0]}",
        *(f"--build-arg={key}={value}" for key, value in arguments.items()),
        "--file",
        str(dockerfile),
        "--tag",
        name,
        str(context),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@contextmanager
def mounted(name: str) -> Iterator[Path]:
    """The image's file system, writable, gone afterwards."""
    container = run(*BUILDAH, "from", "--pull=never", name)
    try:
        yield Path(run(*BUILDAH, "mount", container))
    finally:
        run(*BUILDAH, "rm", container)


def _needs_podman() -> None:
    """With its networks from the first call on: podman keeps the kind of network that it finds
    then.
    """
    needs(
        podman="podman",
        runc="runc",
        netavark="netavark",
        aardvark_dns="aardvark-dns",
        iptables="iptables",
    )


@contextmanager
def running(name: str) -> Iterator[str]:
    """A container in a sandbox like Lambda's, without a network.

    Read-only but for /tmp; no /dev/shm, no processors in /sys; 1024 file descriptors and processes;
    a user without rights; 2 GB.
    """
    _needs_podman()
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
        name,
    )
    try:
        yield container
    finally:
        run(*PODMAN, "rm", "--force", "--time", "0", container)


@contextmanager
def composed(name: str, **variables: str) -> Iterator[str]:
    """The services of compose.yaml, with an image that is built already; the container's name."""
    _needs_podman()
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
print(urllib.request.urlopen(url, sys.stdin.buffer.read(), timeout=120).read().decode())"""


def inside(container: str, script: str, stdin: str = "") -> str:
    """What a Python script prints in the running container."""
    return run(*PODMAN, "exec", "-i", container, "python3", "-c", script, input=stdin)


def invoke(container: str, event: str) -> str:
    """The function's answer to an event, both as JSON."""
    return inside(container, CALL, event)
