"""The real image without Docker and without AWS's registry: buildah, and a Debian that stands in for AWS's base image."""

import atexit
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.support.emulator import emulator_path
from tests.support.requests import ROOT
from tests.support.synthesis import image_source, synthesize

DEBIAN = ROOT / "build" / "debian"
STAND_IN = "localhost/stand-in"
# Runs here, but says that it is for the target: that is how buildah before 1.30, whose FROM --platform goes on to the last stage,
# can have two bases.
BUILDER = "localhost/builder"
AWS_BASE = "public.ecr.aws/lambda/python:3.13"
# Not in the repository: CDK walks all of that when it synthesizes, and follows links in a root file system to the end.
HOME = Path(tempfile.mkdtemp(prefix="classifier-images-", dir="/var/tmp"))
STORE = ("--root", f"{HOME}/store", "--runroot", f"{HOME}/run", "--storage-driver", "overlay")
# What a failed build leaves goes with the rest.
BUILDAH = ("env", f"TMPDIR={HOME}", "buildah", *STORE)
PODMAN = ("podman", *STORE, "--runtime", "runc")
# A function's architecture, as Docker and Debian call it, and as wheels and the emulator do.
NAMES = {"x86_64": ("amd64", "x86_64"), "arm64": ("arm64", "aarch64")}
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
ENTRYPOINT = """#!/bin/sh
exec /usr/local/bin/aws-lambda-rie /usr/bin/python3 -m awslambdaric "$@"
"""


def run(*command: str | Path, **options: object) -> str:
    """What the command prints. Fails the test with all it said."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    if done.returncode:
        pytest.fail(f"{' '.join(map(str, command))} failed with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-5000:]}")
    return str(done.stdout).strip()


@atexit.register
def _remove_store() -> None:
    if shutil.which("buildah"):
        for command in ([*BUILDAH, "rm", "--all"], [*BUILDAH, "rmi", "--all", "--force"], ["umount", f"{HOME}/store/overlay"]):
            subprocess.run(command, check=False, capture_output=True)
    shutil.rmtree(HOME)


def needs(**packages: str) -> None:
    """Installs the Debian packages of commands that are missing. Ends the whole run where it cannot: skipping would look green."""
    if os.geteuid() or platform.machine() != "x86_64" or not shutil.which("apt-get"):
        pytest.exit("This needs root on an x86_64 Debian or Ubuntu: it builds and mounts container images.", returncode=1)
    missing = [package for command, package in packages.items() if not shutil.which(command.replace("_", "-"))]
    if missing:
        quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        run("apt-get", "update")
        run("apt-get", "install", "-y", "--no-install-recommends", *missing, env=quiet)


@cache
def stand_in() -> None:
    """Makes the store, and in it what stands in for AWS's base image: one that runs on x86_64, and one for ARM64."""
    needs(buildah="buildah", debootstrap="debootstrap")
    for architecture in NAMES:
        _base(architecture)


def _base(architecture: str) -> None:
    """Debian 13 has the Python that AWS's image has. For ARM64 its packages are only unpacked: nothing of it runs here."""
    debian, cpu = NAMES[architecture]
    archive = DEBIAN / f"{debian}.tar"
    container = run(*BUILDAH, "from", "--arch", debian, "scratch")
    root = Path(run(*BUILDAH, "mount", container))
    if archive.exists():
        run("tar", "-xf", archive, "-C", root)
    else:
        options = ["--variant=minbase", "--include=ca-certificates,python3,python3-pip", f"--arch={debian}"]
        run("debootstrap", *options, *(["--download-only"] if architecture == "arm64" else []), "trixie", root)
        packages = [*(root / "var/cache/apt/archives").glob("*.deb")]
        for package in packages if architecture == "arm64" else []:
            run("dpkg-deb", "--extract", package, root)
        for package in packages:
            package.unlink()
        DEBIAN.mkdir(parents=True, exist_ok=True)
        run("tar", "-cf", f"{archive}.part", "-C", root, ".")
        Path(f"{archive}.part").rename(archive)
    wheels = ["--only-binary=:all:", "--python-version", "3.13", "--platform", f"manylinux2014_{cpu}"]
    site = root / "usr/lib/python3/dist-packages"
    run(sys.executable, "-m", "pip", "install", "-q", *wheels, "--target", site, f"awslambdaric=={version('awslambdaric')}")
    (root / "usr/local/bin").mkdir(parents=True, exist_ok=True)
    shutil.copy(emulator_path(cpu), root / "usr/local/bin/aws-lambda-rie")
    (root / "lambda-entrypoint.sh").write_text(ENTRYPOINT)
    (root / "lambda-entrypoint.sh").chmod(0o755)
    settings = ["--arch", debian, "--workingdir", "/var/task", "--entrypoint", '["/lambda-entrypoint.sh"]']
    run(*BUILDAH, "config", *settings, container)
    run(*BUILDAH, "commit", "-q", container, f"{STAND_IN}:{architecture}")
    for target in NAMES if architecture == "x86_64" else ():
        run(*BUILDAH, "config", "--arch", NAMES[target][0], container)
        run(*BUILDAH, "commit", "-q", container, f"{BUILDER}:{target}")
    run(*BUILDAH, "rm", container)


@cache
def image(architecture: str, bundle: Path) -> str:
    """Builds from what `cdk synth` stages, the Dockerfile as it is; the image's name."""
    stand_in()
    template = synthesize(Path(tempfile.mkdtemp(dir=HOME)), bundle=bundle.relative_to(ROOT).as_posix(), architecture=architecture)
    source = image_source(template)
    context = Path(source["directory"])
    # As some check files out: for their owner alone.
    for path in context.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    # pip runs inside and trusts what this machine trusts.
    trusted = ["--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro"] if CERTIFICATES.exists() else []
    # The first stage's base runs here; the last one's is the target's, where a RUN would fail.
    run(*BUILDAH, "tag", f"{STAND_IN}:{architecture}", AWS_BASE)
    name = f"localhost/classifier-{bundle.name.lower()}:{architecture}"
    run(*BUILDAH, "build", "--isolation", "chroot", "--network", "host", *trusted, "--layers", "--pull=never",
        "--from", f"{BUILDER}:{architecture}", "--platform", source["platform"],
        *(f"--build-arg={key}={value}" for key, value in source["dockerBuildArgs"].items()),
        "--file", context / source["dockerFile"], "--tag", name, context)  # fmt: skip
    return name


@contextmanager
def mounted(name: str) -> Iterator[Path]:
    """The image's file system, writable, gone afterwards."""
    container = run(*BUILDAH, "from", "--pull=never", name)
    try:
        yield Path(run(*BUILDAH, "mount", container))
    finally:
        run(*BUILDAH, "rm", container)
