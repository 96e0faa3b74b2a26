"""AWS's Runtime Interface Emulator, out of the wheel of aws-sam-cli, a port to run it on, and the
variables that Lambda sets.
"""

import socket
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
NAMES = {"x86_64": "aws-lambda-rie-x86_64", "aarch64": "aws-lambda-rie-arm64"}

# What Lambda sets: https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html. The
# keys are AWS's own examples.
LAMBDA = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "AWS_SESSION_TOKEN": "example",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_REGION": "eu-central-1",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "2048",
    "AWS_LAMBDA_FUNCTION_NAME": "clip",
    "AWS_LAMBDA_FUNCTION_TIMEOUT": "60",
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
    "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
    "AWS_LAMBDA_LOG_FORMAT": "JSON",
    "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/clip",
    "AWS_LAMBDA_LOG_LEVEL": "INFO",
    "AWS_LAMBDA_LOG_STREAM_NAME": "2026/11/25/[$LATEST]0",
    "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
    "AWS_XRAY_DAEMON_ADDRESS": "169.254.100.1:2000",
    "CORS_ORIGIN": "*",
}


def emulator_path(machine: str) -> Path:
    """The program for a machine of that name, downloaded once."""
    path = ROOT / "build" / "rie" / NAMES[machine]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        download = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "-d",
            str(path.parent),
            *groups["dependency-groups"]["sam"],
        ]
        subprocess.run(download, check=True, capture_output=True)
        with zipfile.ZipFile(next(path.parent.glob("*.whl"))) as wheel:
            path.write_bytes(wheel.read(f"samcli/local/rapid/{path.name}"))
        path.chmod(0o755)
    return path


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
