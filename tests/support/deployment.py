import io
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from tools.deploy import machine
from tools.deploy.__main__ import main

ROLE = "arn:aws:iam::123456789012:role/service-role/api-gateway-logging-Role-1ABC"


# What the AWS CLI prints and how it exits, by what went wrong.
DENIED = (
    254,
    (
        "An error occurred (AccessDeniedException) when calling the {0} operation: User:"
        " arn:aws:iam::123456789012:user/dev is not authorized to perform this action because no"
        " identity-based policy allows it"
    ),
)


EXPIRED = (
    254,
    (
        "An error occurred (ExpiredTokenException) when calling the {0} operation: The security"
        " token included in the request is expired"
    ),
)


THROTTLED = (
    254,
    (
        "An error occurred (TooManyRequestsException) when calling the {0} operation (reached max"
        " retries: 2): Too Many Requests"
    ),
)


LIMITS = {"TotalCodeSize": 80530636800, "CodeSizeUnzipped": 262144000, "CodeSizeZipped": 52428800}


def limits(quota: int, unreserved: int) -> str:
    return json.dumps(
        LIMITS | {"ConcurrentExecutions": quota, "UnreservedConcurrentExecutions": unreserved},
        indent=4,
    )


NO_STACK = (
    254,
    (
        "An error occurred (ValidationError) when calling the {0} operation: Stack with id {1} does"
        " not exist"
    ),
)


NO_ROLE = (
    254,
    (
        "An error occurred (NoSuchEntity) when calling the GetRole operation: The role with name"
        " api-gateway-logging-Role-1ABC cannot be found."
    ),
)


NO_PARAMETER = (
    254,
    (
        "An error occurred (ParameterNotFound) when calling the GetParameter operation: Parameter"
        " /cdk-bootstrap/hnb659fds/version not found."
    ),
)


Reply = str | tuple[int, str]


FINE: dict[str, Reply] = {
    "--version": "aws-cli/2.31.0 Python/3.13.7 Linux/6.12 exe/x86_64.amzn.2023",
    "sts get-caller-identity": "arn:aws:sts::123456789012:assumed-role/dev/me",
    "configure get": "eu-central-1",
    "ssm get-parameter": "30",
    "apigateway get-account": ROLE,
    "iam get-role": ROLE,
    "lambda get-account-settings": limits(1000, 1000),
    "lambda wait": "",
    "lambda invoke": "",
    "cloudformation describe-stacks": NO_STACK,
    "cloudformation delete-stack": "",
    "cloudformation wait": "",
    "cloudformation deploy": "Successfully created/updated stack - api-gateway-logging",
}


class Programs:
    """A folder of stand-ins that is all of PATH. Each call is kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "calls.log"
        for name in ("sh", "cat", "test", "grep", "tr"):
            program = shutil.which(name)
            assert program
            (folder / name).symlink_to(program)

    def add(self, name: str, script: str) -> None:
        file = self.folder / name
        file.write_text(
            f"#!/bin/sh\necho {name} \"$@\" >> '{self.log}'\n{script}\n", encoding="utf-8"
        )
        file.chmod(0o755)

    def aws(self, **replies: Reply | list[Reply]) -> None:
        """The AWS CLI: by `service_command` an output or (status, error), or a list of them for one
        call after the other.
        """
        cases = []
        for key, reply in (
            FINE
            | {key.replace("__", " ").replace("_", "-"): reply for key, reply in replies.items()}
        ).items():
            series = reply if isinstance(reply, list) else [reply]
            for count, entry in enumerate(series, 1):
                status, text = entry if isinstance(entry, tuple) else (0, entry)
                file = self.folder / f"{key.replace(' ', '.')}.{count}"
                operation = "".join(word.title() for word in key.partition(" ")[2].split("-"))
                file.write_text(
                    f"{chr(10) if status else ''}{text.replace('{0}', operation)}\n",
                    encoding="utf-8",
                )
                file.with_suffix(file.suffix + ".status").write_text(str(status))
            cases.append(
                f'"{key}"*) reply="{self.folder}/{key.replace(" ", ".")}"; last={len(series)};;'
            )
        chosen = "\n".join(cases)
        self.add(
            "aws",
            f"""case "$1 $2" in
{chosen}
*) echo "aws: [ERROR]: argument command: Invalid choice" >&2; exit 252;;
esac
n=1
while test -e "$reply.$n.used" && test "$n" -lt "$last"; do n=$((n + 1)); done
: > "$reply.$n.used"
read -r status < "$reply.$n.status" || :
if test "$status" = 0; then cat "$reply.$n"; else cat "$reply.$n" >&2; fi
exit "$status\"""",
        )

    def function(self, answer: object) -> None:
        """What `aws lambda invoke` writes into the file that it is given last."""
        written = self.folder / "function.json"
        written.write_text(json.dumps(answer), encoding="utf-8")
        aws = self.folder / "aws"
        aws.rename(self.folder / "aws-otherwise")
        # The event is gone with its folder before a test can look at it.
        self.add(
            "aws",
            f"""if test "$1 $2" != "lambda invoke"; then exec "{self.folder}/aws-otherwise" "$@"; fi
for last; do :; done
cat "${{6#fileb://}}" > "{self.folder}/event.json"
cat "{written}" > "$last\"""",
        )

    def calls(self, program: str = "") -> list[str]:
        lines = self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []
        return [line for line in lines if line.startswith(program)]

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """tools.deploy with these programs alone."""
        return self._run(main, arguments, environment)

    def run_machine(self, *names: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """tools.deploy.machine with these programs alone."""
        return self._run(machine.main, names, environment)

    def _run(
        self,
        main: Callable[[Sequence[str]], None],
        arguments: Sequence[str],
        environment: Mapping[str, str],
    ) -> subprocess.CompletedProcess[str]:
        """In this process, since a new one takes a second to start."""
        out = io.StringIO()
        err = io.StringIO()
        code = 0
        before = dict(os.environ)
        os.environ.clear()
        os.environ |= {"PATH": str(self.folder), **environment}
        try:
            with redirect_stdout(out), redirect_stderr(err):
                main(arguments)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
            print(
                end.code if isinstance(end.code, str) else "",
                file=err,
                end="\n" if isinstance(end.code, str) else "",
            )
        finally:
            os.environ.clear()
            os.environ |= before
        return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def check(programs: Programs, *names: str, **environment: str) -> str:
    """The check's report; empty if nothing is missing."""
    on_machine = [name for name in names if name in machine.CHECKS]
    done = programs.run_machine(*on_machine, **environment)
    if len(on_machine) < len(names):
        rest = [name for name in names if name not in on_machine]
        done = programs.run("check", *rest, **environment)
    assert (done.returncode == 1) == done.stderr.startswith("This is missing:"), done.stderr
    return done.stderr


FAILURES = {
    "denied": (DENIED, "Ask for this permission"),
    "expired": (EXPIRED, "Sign in again"),
    "throttled": (THROTTLED, "try again"),
}


def outputs(folder: Path, url: str, **more: str) -> str:
    values = {
        "Url": url,
        "FunctionName": "clip-Function-1",
        "Dashboard": "https://console.example.org",
        **more,
    }
    file = folder / "outputs.json"
    file.write_text(json.dumps({"clip-classifier": values}), encoding="utf-8")
    return str(file)
