import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import requests

from tools.deploy.base_image import update_base
from tools.deploy.machine import CheckError

IMAGE = "public.ecr.aws/lambda/python:3.13"
INDEX: dict[str, Any] = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.docker.distribution.manifest.list.v2+json",
    "manifests": [
        {"digest": "sha256:" + "1" * 64, "platform": {"architecture": name, "os": "linux"}}
        for name in ("amd64", "arm64")
    ],
}
ONE_PLATFORM = INDEX | {"manifests": INDEX["manifests"][:1]}
CHALLENGE = 'Bearer realm="https://public.ecr.aws/token/",service="public.ecr.aws",scope="aws"'


def response(status: int, content: bytes, **headers: str) -> requests.Response:
    made = requests.Response()
    made.status_code = status
    made._content = content
    made.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return made


class Registry:
    """Wants a token, gives it to everyone, and has one image."""

    def __init__(self, content: bytes, token_status: int = 200) -> None:
        self.content = content
        self.token_status = token_status
        self.asked: list[str] = []

    def get(
        self,
        url: str,
        *,
        timeout: float,
        headers: dict[str, str] | None = None,
        params: dict[str, str] | None = None,
    ) -> requests.Response:
        self.asked.append(url)
        if params is not None:
            assert params == {"service": "public.ecr.aws", "scope": "aws"}
            return response(self.token_status, b'{"token": "abc"}')
        assert headers and "manifest.list.v2+json" in headers["Accept"]
        if headers.get("Authorization") != "Bearer abc":
            return response(401, b"", WWW_Authenticate=CHALLENGE)
        return response(200, self.content)


def test_todays_base_image_is_pinned_and_pinned_again(cdk_json: Path) -> None:
    before = json.loads(cdk_json.read_text(encoding="utf-8"))
    for indent in (2, 4):
        content = json.dumps(INDEX, indent=indent).encode()
        registry = Registry(content)
        pinned = f"{IMAGE}@sha256:{hashlib.sha256(content).hexdigest()}"
        assert update_base(cdk_json, registry.get) == pinned
        # Each time by the tag, which moves, and not by the digest before.
        assert registry.asked[-1] == "https://public.ecr.aws/v2/lambda/python/manifests/3.13"
    after = json.loads(cdk_json.read_text(encoding="utf-8"))
    assert after["context"].pop("base_image") == pinned
    assert after == before


@pytest.mark.parametrize(
    ("registry", "message"),
    [
        (Registry(json.dumps(INDEX).encode(), token_status=403), "without a login"),
        (Registry(b"<html>"), "without a login"),
        (Registry(json.dumps(ONE_PLATFORM).encode()), "not made for both"),
    ],
)
def test_a_base_image_that_cannot_be_used_changes_nothing(
    cdk_json: Path, registry: Registry, message: str
) -> None:
    before = cdk_json.read_bytes()
    with pytest.raises(CheckError, match=message):
        update_base(cdk_json, registry.get)
    assert cdk_json.read_bytes() == before
