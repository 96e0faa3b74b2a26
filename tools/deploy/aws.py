"""Calls AWS's command line."""

import re
import subprocess
from collections.abc import Sequence

from tools.deploy.machine import CheckError

# Error codes of AWS that have a remedy of their own.
REMEDIES = {
    "ExpiredToken": "Sign in again (aws login, aws sso login).",
    "ExpiredTokenException": "Sign in again (aws login, aws sso login).",
    "RequestExpired": "Sign in again (aws login, aws sso login), and check this machine's clock.",
    "AccessDenied": "Ask for this permission, or sign in as somebody who has it.",
    "AccessDeniedException": "Ask for this permission, or sign in as somebody who has it.",
    "UnauthorizedOperation": "Ask for this permission, or sign in as somebody who has it.",
    "Throttling": "AWS limits how often this can be asked; try again in a minute.",
    "ThrottlingException": "AWS limits how often this can be asked; try again in a minute.",
    "TooManyRequestsException": "AWS limits how often this can be asked; try again in a minute.",
}


class AwsError(CheckError):
    """The AWS CLI failed; `code` is AWS's error code, or empty if the CLI failed by itself."""

    def __init__(self, command: Sequence[str], stderr: str) -> None:
        # "An error occurred (AccessDeniedException) when calling the GetAccount operation: …"
        match = re.search(r"An error occurred \((\w+)\)", stderr)
        self.code = match[1] if match else ""
        message = " ".join(stderr.split()) or "it failed without a message"
        super().__init__(
            f"{' '.join(command)}: {message}\n "
            f" {REMEDIES.get(self.code, 'Run this command by hand to see more.')}"
        )


def aws(*arguments: str) -> str:
    """Returns what the AWS CLI prints. Raises AwsError with AWS's error code."""
    done = subprocess.run(["aws", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise AwsError(["aws", *arguments[:2]], done.stderr)
    return done.stdout.strip()
