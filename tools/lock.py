"""Writes lambdas/classifier/requirements.lock: what the image installs, with the hashes of its wheels for both architectures."""

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement

REQUIREMENTS = Path("lambdas/classifier/requirements.txt")
LOCK = REQUIREMENTS.with_suffix(".lock")
PYTHON = "3.13"
ARCHITECTURES = ("aarch64", "x86_64")


def pins(requirements: str, architecture: str) -> Iterator[Requirement]:
    """What a file of requirements says for Linux on that architecture."""
    target = {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": architecture, "python_version": PYTHON}
    for line in requirements.splitlines():
        if text := line.partition("#")[0].strip():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate(target):
                yield requirement


def wheel_hash(pin: str, architecture: str) -> str:
    """The sha256 of the wheel that pip takes for Lambda."""
    with tempfile.TemporaryDirectory() as folder:
        platforms = ["--platform", f"manylinux_2_28_{architecture}", "--platform", f"manylinux2014_{architecture}"]
        options = ["-q", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:", "--python-version", PYTHON]
        subprocess.run([sys.executable, "-m", "pip", "download", *options, *platforms, "-d", folder, pin], check=True)
        [wheel] = Path(folder).iterdir()
        return hashlib.sha256(wheel.read_bytes()).hexdigest()


def main() -> None:
    hashes: dict[str, set[str]] = {}
    for architecture in ARCHITECTURES:
        for requirement in pins(REQUIREMENTS.read_text(encoding="utf-8"), architecture):
            pin = f"{requirement.name}{requirement.specifier}"
            hashes.setdefault(pin, set()).add(wheel_hash(pin, architecture))
    lines = ["# Made from requirements.txt by: make lock"]
    lines += [" \\\n".join([pin, *(f"    --hash=sha256:{digest}" for digest in sorted(hashes[pin]))]) for pin in hashes]
    LOCK.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
