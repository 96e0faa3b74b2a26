"""The first call of a new deployment, until its new version answers."""

import importlib
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import requests

from classifier.contract.bundle import read_manifest
from tools.deploy.aws import aws
from tools.deploy.calls import Answer, ask, invoke
from tools.deploy.doors import closed, is_refused

# A new key and a new name take a minute or two to be known everywhere.
PATIENCE_S = 300.0
# A resource policy of the deployment before is known for some seconds more.
REFUSED_PATIENCE_S = 30.0
LONGEST_PAUSE_S = 15.0
# Errors in the request itself, which repeating doesn't mend.
NON_RETRYABLE = {400, 413, 415}


def signed() -> requests.auth.AuthBase:
    """Signs requests as the examples do."""
    # Examples stand alone, so the signer is theirs, and finds the modules next to it. It takes a
    # second to import.
    folder = str(Path(__file__).parents[2] / "examples")
    if folder not in sys.path:
        sys.path.append(folder)
    auth: requests.auth.AuthBase = importlib.import_module("client").SignedRequests()
    return auth


def wait(
    call: Callable[[], Answer],
    *,
    model: str | None = None,
    build: str | None = None,
    patience: float = PATIENCE_S,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Calls with growing pauses until that model in that build answers; prints each answer and
    its time. Raises CheckError.
    """
    began = time.monotonic()
    pause = 1.0
    paused = 0.0
    while True:
        answer = call()
        spent = time.monotonic() - began
        old = [
            f"(still {was or 'the version before'}, not {wanted})"
            for was, wanted in ((answer.model, model), (answer.build, build))
            if answer.status == 200 and wanted is not None and was != wanted
        ]
        shown = f"{answer.status or 'no answer'}  {answer.text.strip()[:200]}"
        print("  ".join([f"  {spent:5.1f} s", shown, *old]), flush=True)
        if answer.status == 200 and not old:
            print(f"It answered after {spent:.1f} s.")
            return True
        end = min(patience, REFUSED_PATIENCE_S) if is_refused(answer) else patience
        if answer.status in NON_RETRYABLE or max(spent, paused) + pause > end:
            print(
                f"No answer after {spent:.1f} s. The function's log and the dashboard tell more.",
                file=sys.stderr,
            )
            return False
        sleep(pause)
        paused += pause
        pause = min(2 * pause, LONGEST_PAUSE_S)


def call_deployment(
    outputs: Mapping[str, str], bundle: Path, sleep: Callable[[float], None] = time.sleep
) -> bool:
    """Calls a stack by its outputs until the new version of it answers. If its settings keep this
    machine out, the function itself has to answer. Raises CheckError.
    """
    url = outputs["Url"]
    function = outputs["FunctionName"]
    # Until then Lambda runs the previous code:
    # https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html
    aws("lambda", "wait", "function-updated-v2", "--function-name", function)
    key = None
    if command := outputs.get("ApiKeyCommand"):
        key = aws(*shlex.split(command)[1:])
        print(f"The API key: {command}")
    private = outputs.get("VpcEndpoint")
    auth = signed() if outputs.get("Authentication") == "iam" and not private else None

    def call() -> Answer:
        if private:
            return through(f"the API is private to {private}")
        answer = ask(url, key, auth)
        reason = closed(answer, outputs)
        return through(reason) if reason else answer

    def through(reason: str) -> Answer:
        """What the API calls, without the API."""
        alias = outputs.get("Alias")
        print(f"  From here {reason}. The function itself:")
        return invoke(f"{function}:{alias}" if alias else function)

    print(f"Calling {url} until it answers:")
    manifest = read_manifest(bundle, verify_hashes=False)
    if wait(call, model=manifest.name, build=outputs.get("Build"), sleep=sleep):
        return True
    print(outputs["Dashboard"], file=sys.stderr)
    return False
