"""The first call of a new deployment."""

import base64
import importlib
import json
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import requests

from classifier.contract.bundle import read_manifest
from tools.deploy.account import ROOT
from tools.deploy.aws import aws
from tools.deploy.machine import CheckError

PICTURE = ROOT / "examples" / "images" / "dog.jpg"
LABELS = ["a dog", "a cat", "food"]
# A new key and a new name take a minute or two to be known everywhere.
PATIENCE_S = 300.0
LONGEST_PAUSE_S = 15.0
# Errors in the request itself, which repeating doesn't mend.
NON_RETRYABLE = {400, 413, 415}


def signed() -> requests.auth.AuthBase:
    """Signs requests as the examples do."""
    # Examples stand alone, so the signer is theirs. It takes a second to import.
    auth: requests.auth.AuthBase = importlib.import_module("examples.client").SignedRequests()
    return auth


def ask(
    url: str, key: str | None, auth: requests.auth.AuthBase | None = None
) -> tuple[int, str, str]:
    """One classification: status, body and X-Model; 0 and the reason if no answer came at all.

    Raises CheckError for a certificate that this machine doesn't trust.
    """
    body = {"image_data": base64.b64encode(PICTURE.read_bytes()).decode(), "labels": LABELS}
    headers = {"Content-Type": "application/json"} | ({"x-api-key": key} if key else {})
    try:
        response = requests.post(
            url,
            json.dumps(body).encode(),
            headers=headers,
            auth=auth,
            timeout=30,
            allow_redirects=False,
        )
    except requests.exceptions.SSLError as err:
        # The servers of a new domain show API Gateway's own certificate at first.
        if "Hostname mismatch" in str(err):
            return 0, str(err), ""
        raise CheckError(
            f"This machine doesn't trust the certificate of {url}: {err}\n  The deployment itself"
            " succeeded. Behind a proxy that opens TLS, name its certificates: export"
            " REQUESTS_CA_BUNDLE=/path/to/certificates.pem"
        ) from err
    except requests.RequestException as err:
        return 0, str(err), ""
    return response.status_code, response.text, response.headers.get("X-Model", "")


def wait(
    url: str,
    key: str | None,
    *,
    model: str | None = None,
    auth: requests.auth.AuthBase | None = None,
    patience: float = PATIENCE_S,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Calls with growing pauses until `model` answers; prints the answer and its time."""
    print(f"Calling {url} until it answers:")
    began = time.monotonic()
    pause = 1.0
    while True:
        status, text, answered_by = ask(url, key, auth)
        spent = time.monotonic() - began
        old = status == 200 and model is not None and answered_by != model
        note = f"  (still {answered_by or 'the version before'}, not {model})" if old else ""
        print(f"  {spent:5.1f} s  {status or 'no answer'}  {text.strip()[:200]}{note}", flush=True)
        if status == 200 and not old:
            print(f"It answered after {spent:.1f} s.")
            return True
        if status in NON_RETRYABLE or spent + pause > patience:
            print(
                f"No answer after {spent:.1f} s. The function's log and the dashboard tell more.",
                file=sys.stderr,
            )
            return False
        sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_S)


def call_deployment(outputs: Mapping[str, str], bundle: Path) -> bool:
    """Calls a stack by its outputs until the new version of it answers. Raises CheckError."""
    if endpoint := outputs.get("VpcEndpoint"):
        print(f"Deployed. The API is private to {endpoint}: call {outputs['Url']} from its VPC.")
        return True
    # Until then Lambda runs the previous code:
    # https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html
    aws("lambda", "wait", "function-updated-v2", "--function-name", outputs["FunctionName"])
    key = None
    if command := outputs.get("ApiKeyCommand"):
        key = aws(*shlex.split(command)[1:])
        print(f"The API key: {command}")
    auth = signed() if outputs.get("Authentication") == "iam" else None
    if wait(outputs["Url"], key, model=read_manifest(bundle, verify_hashes=False).name, auth=auth):
        return True
    print(outputs["Dashboard"], file=sys.stderr)
    return False
