"""AWS's Runtime Interface Emulator, out of the wheel of aws-sam-cli, and a port to run it on."""

import socket
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
NAMES = {"x86_64": "aws-lambda-rie-x86_64", "aarch64": "aws-lambda-rie-arm64"}


def emulator_path(machine: str) -> Path:
    """The program for a machine of that name, downloaded once."""
    path = ROOT / "build" / "rie" / NAMES[machine]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        requirements = ["-r", str(ROOT / "tests" / "integration" / "sam-requirements.txt")]
        download = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(path.parent), *requirements]
        subprocess.run(download, check=True, capture_output=True)
        with zipfile.ZipFile(next(path.parent.glob("*.whl"))) as wheel:
            path.write_bytes(wheel.read(f"samcli/local/rapid/{path.name}"))
        path.chmod(0o755)
    return path


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
