"""One classification, asked of an endpoint or of the function behind it."""

import base64
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tools.deploy.account import ROOT
from tools.deploy.aws import aws
from tools.deploy.machine import CheckError

IMAGE = ROOT / "examples" / "images" / "dog.jpg"
LABELS = ["a dog", "a cat", "food"]
HEADERS = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Answer:
    """`status` 0: none came, and `text` says why. `model`, `build`: of the image that answered."""

    status: int
    text: str
    model: str = ""
    build: str = ""

    @classmethod
    def of(cls, status: int, text: str, headers: Mapping[str, str]) -> "Answer":
        _, _, build = headers.get("X-Version", "").partition("+")
        return cls(status, text, headers.get("X-Model", ""), build)

    @property
    def message(self) -> str:
        """An error's, or nothing."""
        try:
            return str(json.loads(self.text)["message"])
        except (ValueError, KeyError, TypeError):
            return ""


def body() -> str:
    image = base64.b64encode(IMAGE.read_bytes()).decode()
    return json.dumps({"image_data": image, "labels": LABELS})


def ask(url: str, key: str | None, auth: requests.auth.AuthBase | None = None) -> Answer:
    """The endpoint's answer. Raises CheckError for a certificate that isn't trusted here."""
    try:
        response = requests.post(
            url,
            body().encode(),
            headers=HEADERS | ({"x-api-key": key} if key else {}),
            auth=auth,
            timeout=30,
            allow_redirects=False,
        )
    except requests.exceptions.SSLError as err:
        # The servers of a new domain show API Gateway's own certificate at first.
        if "Hostname mismatch" in str(err):
            return Answer(0, str(err))
        raise CheckError(
            f"This machine doesn't trust the certificate of {url}: {err}\n  The deployment itself"
            " succeeded. Behind a proxy that opens TLS, name its certificates: export"
            " REQUESTS_CA_BUNDLE=/path/to/certificates.pem"
        ) from err
    except requests.RequestException as err:
        return Answer(0, str(err))
    return Answer.of(response.status_code, response.text, response.headers)


def invoke(function: str) -> Answer:
    """The answer of a function, or of `name:alias`, to the same request as API Gateway sends it.
    Raises AwsError.
    """
    event = {
        "httpMethod": "POST",
        "resource": "/",
        "path": "/",
        "headers": HEADERS,
        "requestContext": {},
        "body": body(),
        "isBase64Encoded": False,
    }
    with tempfile.TemporaryDirectory() as folder:
        sent = Path(folder, "event.json")
        sent.write_text(json.dumps(event), encoding="utf-8")
        received = Path(folder, "answer.json")
        call = ("lambda", "invoke", "--function-name", function)
        aws(*call, "--payload", f"fileb://{sent}", "--output", "json", str(received))
        answer: Any = json.loads(received.read_bytes() or b"null")
    if not isinstance(answer, dict) or "statusCode" not in answer:
        return Answer(502, json.dumps(answer))
    return Answer.of(answer["statusCode"], answer["body"], answer["headers"])
