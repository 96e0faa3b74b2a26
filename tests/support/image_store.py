"""The real image without Docker and without AWS's registry: buildah, and a Debian that stands in
for AWS's base image.
"""

import atexit
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from tests.support.base_image import BASE, reduce
from tests.support.machine import needs, run
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
# A function's architecture, as Docker and Debian call it, and as wheels and the emulator do.
NAMES = {"x86_64": ("amd64", "x86_64"), "arm64": ("arm64", "aarch64")}
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


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


@cache
def stand_in() -> None:
    """Makes the store, and in it what stands in for AWS's base image: one that runs on x86_64, and
    one for ARM64.
    """
    needs(buildah="buildah", debootstrap="debootstrap")
    for architecture in NAMES:
        base(architecture)


@cache
def base(architecture: str) -> None:
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
    if architecture == "x86_64":
        # One and the same, so that its layers serve wherever this base is pulled too.
        run(*BUILDAH, "tag", f"{STAND_IN}:x86_64", f"{BUILDER}:x86_64")
        run(*BUILDAH, "config", "--arch", NAMES["arm64"][0], container)
        run(*BUILDAH, "commit", "-q", container, f"{BUILDER}:arm64")
    run(*BUILDAH, "rm", container)


def push_base(address: str) -> None:
    """Into a registry on this machine: for x86_64 the stand-in, and for ARM64 one that only says
    so.
    """
    run(*BUILDAH, "manifest", "create", "bases", f"{STAND_IN}:x86_64", f"{BUILDER}:arm64")
    push = (*BUILDAH, "manifest", "push", "-q", "--all", "--tls-verify=false", "bases")
    run(*push, f"docker://{address}")


@cache
def image(architecture: str, bundle: Path, heic: bool = False) -> str:
    """Builds from what `cdk synth` stages, the Dockerfile as it is; the image's name."""
    stand_in()
    template = synthesize(
        Path(tempfile.mkdtemp(dir=HOME)),
        bundle=bundle.relative_to(ROOT).as_posix(),
        architecture=architecture,
        heic=heic,
    )
    source = image_source(template)
    context = Path(source["directory"])
    # As some check files out: for their owner alone.
    for path in context.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    name = f"localhost/classifier-{bundle.name.lower()}{'-heic' * heic}:{architecture}"
    arguments = source["dockerBuildArgs"] | {"BASE_IMAGE": f"{STAND_IN}:{architecture}"}
    result = build(name, context / source["dockerFile"], context, architecture, arguments)
    if result.returncode:
        pytest.fail(f"The image can't be built:\n{result.stdout[-3000:]}{result.stderr[-5000:]}")
    return name


def build(
    name: str, dockerfile: Path, context: Path, architecture: str, arguments: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """The first stage's base runs here; the last one's, the argument BASE_IMAGE, is the target's,
    on which a RUN would fail.
    """
    # pip runs inside and trusts what this machine trusts.
    trusted = ["--secret", f"id=certificates,src={CERTIFICATES}"] if CERTIFICATES.exists() else []
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
