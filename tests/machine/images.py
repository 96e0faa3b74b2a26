"""The real image without Docker and without AWS's registry: buildah, and a Debian that stands in for AWS's base image."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path

import pytest

from conftest import ROOT
from emulator import emulator_path

MACHINE = ROOT / "build" / "machine"
AWS_BASE = "public.ecr.aws/lambda/python:3.13"
# Debian 13 has the Python that AWS's image has. What is installed is part of the name, so that a change makes it again.
STAND_IN = f"localhost/stand-in-{version('awslambdaric')}"
STORE = ("--root", f"{MACHINE}/store", "--runroot", f"{MACHINE}/run", "--storage-driver", "overlay")
PODMAN = ("podman", *STORE, "--runtime", "runc")
CPUS = {"amd64": "x86_64", "arm64": "aarch64"}
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


def buildah(*arguments: str | Path) -> str:
    return run("buildah", *STORE, *arguments)


def needs(**packages: str) -> None:
    """Installs the Debian packages of commands that are missing. Ends the whole run where it cannot: skipping would look green."""
    if sys.platform != "linux" or os.geteuid() or not shutil.which("apt-get"):
        pytest.exit("This needs root on a Debian or Ubuntu Linux: it builds and mounts container images.", returncode=1)
    missing = [package for command, package in packages.items() if not shutil.which(command.replace("_", "-"))]
    if missing:
        run("apt-get", "update")
        run(
            "apt-get",
            "install",
            "-y",
            "--no-install-recommends",
            *missing,
            env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
        )


@cache
def stand_in() -> None:
    """Puts into the store, under the name of AWS's base image, one that runs on amd64 and one for arm64, where nothing may run."""
    needs(buildah="buildah", debootstrap="debootstrap")
    for arch in CPUS:
        if not buildah("images", "-q", "--filter", f"reference={STAND_IN}:{arch}"):
            _base(arch)
    subprocess.run(["buildah", *STORE, "manifest", "rm", AWS_BASE], check=False, capture_output=True)
    buildah("manifest", "create", AWS_BASE, *(f"{STAND_IN}:{arch}" for arch in CPUS))


def _base(arch: str) -> None:
    container = buildah("from", "--arch", arch, "scratch")
    root = Path(buildah("mount", container))
    debian = ["debootstrap", f"--arch={arch}", "--variant=minbase", "--include=ca-certificates,python3,python3-pip"]
    if arch == "amd64":
        run(*debian, "trixie", root)
    else:
        run(*debian, "--download-only", "trixie", root)
        for package in (root / "var/cache/apt/archives").glob("*.deb"):
            run("dpkg-deb", "--extract", package, root)
    wheels = ["--only-binary=:all:", "--python-version", "3.13", "--platform", f"manylinux2014_{CPUS[arch]}"]
    site = root / "usr/lib/python3/dist-packages"
    run(sys.executable, "-m", "pip", "install", "-q", *wheels, "--target", site, f"awslambdaric=={version('awslambdaric')}")
    (root / "usr/local/bin").mkdir(parents=True, exist_ok=True)
    shutil.copy(emulator_path(CPUS[arch]), root / "usr/local/bin/aws-lambda-rie")
    (root / "lambda-entrypoint.sh").write_text(ENTRYPOINT)
    (root / "lambda-entrypoint.sh").chmod(0o755)
    buildah("config", "--arch", arch, "--workingdir", "/var/task", "--entrypoint", '["/lambda-entrypoint.sh"]', container)
    buildah("commit", "-q", "--rm", container, f"{STAND_IN}:{arch}")


def stage(bundle: Path) -> Path:
    """A build context: what the image may hold, readable to the owner alone, as some check files out."""
    context = MACHINE / f"context-{bundle.name}"
    shutil.rmtree(context, ignore_errors=True)
    shutil.copytree(
        ROOT / "lambdas/classifier", context / "lambdas/classifier", ignore=shutil.ignore_patterns("export", "__pycache__")
    )
    shutil.copytree(bundle, context / "models" / bundle.name)
    for path in context.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    return context


@cache
def image(arch: str, bundle: Path) -> str:
    """Builds the Dockerfile as it is; the image's name."""
    stand_in()
    name = f"localhost/classifier-{bundle.name.lower()}:{arch}"
    # pip runs inside and trusts what this machine trusts.
    trusted = ["-v", f"{CERTIFICATES}:{CERTIFICATES}:ro"] if CERTIFICATES.exists() else []
    context = stage(bundle)
    # BUILDPLATFORM is what BuildKit sets by itself and buildah before 1.30 does not.
    buildah("build", "--isolation", "chroot", "--network", "host", *trusted, "--layers", "--pull=never",
            "--platform", f"linux/{arch}", "--build-arg", "BUILDPLATFORM=linux/amd64",
            "--build-arg", f"BUNDLE=models/{bundle.name}", "-f", context / "lambdas/classifier/Dockerfile", "-t", name, context)  # fmt: skip
    return name


@contextmanager
def mounted(name: str) -> Iterator[Path]:
    """The image's file system, writable, gone afterwards."""
    container = buildah("from", "--pull=never", name)
    try:
        yield Path(buildah("mount", container))
    finally:
        buildah("rm", container)
