"""Pins the base image of the Lambda function."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import requests

from stacks.settings.deployment import Settings
from tools.deploy.account import CDK_JSON
from tools.deploy.machine import CheckError

Get = Callable[..., requests.Response]
KINDS = (
    "application/vnd.oci.image.index.v1+json,"
    " application/vnd.docker.distribution.manifest.list.v2+json"
)
TIMEOUT_S = 30


def update_base(cdk_json: Path = CDK_JSON, get: Get = requests.get) -> str:
    """Pins today's base image by its digest, as base_image in cdk.json; returns it. Raises
    CheckError.
    """
    configuration = json.loads(cdk_json.read_text(encoding="utf-8"))
    current = configuration["context"].get(
        "base_image", Settings.model_fields["base_image"].default
    )
    image = current.partition("@")[0]
    try:
        content = _index(image, get)
        entries = json.loads(content).get("manifests", [])
    except (requests.RequestException, ValueError) as err:
        raise CheckError(
            f"{image} can't be looked up: {err}\n  it has to be in a registry that can be reached"
            " from here without a login; for another one write its digest into cdk.json"
        ) from err
    made_for = {entry.get("platform", {}).get("architecture") for entry in entries}
    if not {"amd64", "arm64"} <= made_for:
        raise CheckError(
            f"{image} is not made for both arm64 and x86_64\n  set base_image to an image that is"
        )
    pinned = f"{image}@sha256:{hashlib.sha256(content).hexdigest()}"
    configuration["context"]["base_image"] = pinned
    cdk_json.write_text(json.dumps(configuration, indent=2) + "\n", encoding="utf-8")
    return pinned


def _index(image: str, get: Get) -> bytes:
    """The list of an image's builds, as its registry has it; no program that builds is needed.

    https://distribution.github.io/distribution/spec/api/
    """
    registry, _, name = image.partition("/")
    name, _, tag = name.partition(":")
    url = f"https://{registry}/v2/{name}/manifests/{tag or 'latest'}"
    headers = {"Accept": KINDS}
    response = get(url, headers=headers, timeout=TIMEOUT_S)
    if response.status_code == 401:
        # Even public registries want a token, which they give to everyone.
        fields = dict(re.findall(r'(\w+)="([^"]*)"', response.headers["WWW-Authenticate"]))
        token = get(fields.pop("realm"), params=fields, timeout=TIMEOUT_S)
        token.raise_for_status()
        headers["Authorization"] = f"Bearer {token.json()['token']}"
        response = get(url, headers=headers, timeout=TIMEOUT_S)
    response.raise_for_status()
    return response.content
