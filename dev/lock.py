"""Writes requirements.lock and requirements-heic.lock of lambdas/classifier: what the image
installs, with the hashes of its wheels for both architectures.
"""

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

REQUIREMENTS = (
    Path("lambdas/classifier/requirements.txt"),
    Path("lambdas/classifier/requirements-heic.txt"),
)
PYTHON = "3.13"
ARCHITECTURES = ("aarch64", "x86_64")


def pins(requirements: str, architecture: str) -> Iterator[Requirement]:
    """What a file of requirements says for Linux on that architecture."""
    target = {
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": architecture,
        "python_version": PYTHON,
    }
    for line in requirements.splitlines():
        if text := line.partition("#")[0].strip():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate(target):
                yield requirement


def hashes(pinned: Sequence[Requirement], architecture: str) -> dict[str, str]:
    """By name, the sha256 of the wheels that pip takes for Lambda."""
    with tempfile.TemporaryDirectory() as folder:
        platforms = [
            "--platform",
            f"manylinux_2_28_{architecture}",
            "--platform",
            f"manylinux2014_{architecture}",
        ]
        options = [
            "-q",
            "--disable-pip-version-check",
            "--no-deps",
            "--only-binary=:all:",
            "--python-version",
            PYTHON,
        ]
        names = [f"{requirement.name}{requirement.specifier}" for requirement in pinned]
        subprocess.run(
            [sys.executable, "-m", "pip", "download", *options, *platforms, "-d", folder, *names],
            check=True,
        )
        wheels = Path(folder).iterdir()
        return {
            parse_wheel_filename(wheel.name)[0]: hashlib.sha256(wheel.read_bytes()).hexdigest()
            for wheel in wheels
        }


def main() -> None:
    for requirements in REQUIREMENTS:
        lock(requirements)


def lock(requirements: Path) -> None:
    lines: dict[str, set[str]] = {}
    for architecture in ARCHITECTURES:
        pinned = list(pins(requirements.read_text(encoding="utf-8"), architecture))
        digests = hashes(pinned, architecture)
        for requirement in pinned:
            digest = digests[canonicalize_name(requirement.name)]
            lines.setdefault(f"{requirement.name}{requirement.specifier}", set()).add(
                f"    --hash=sha256:{digest}"
            )
    text = [
        f"# Made from {requirements.name} by: make lock",
        *(" \\\n".join([pin, *sorted(digests)]) for pin, digests in lines.items()),
    ]
    requirements.with_suffix(".lock").write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
