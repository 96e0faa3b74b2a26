"""Pins the base image of the Lambda function."""

import json
from pathlib import Path

from stacks.settings.deployment import Settings
from tools.deploy.account import CDK_JSON
from tools.deploy.machine import CheckError, docker, run


def update_base(cdk_json: Path = CDK_JSON) -> str:
    """Pins today's base image by its digest, as base_image in cdk.json; returns it. Raises
    CheckError.
    """
    configuration = json.loads(cdk_json.read_text(encoding="utf-8"))
    current = configuration["context"].get(
        "base_image", Settings.model_fields["base_image"].default
    )
    image = current.partition("@")[0]
    remedy = (
        "Docker with buildx and a way to the registry are needed; a stale login is removed with:"
        " docker logout public.ecr.aws"
    )
    text = run(
        [docker(), "buildx", "imagetools", "inspect", image, "--format", "{{json .Manifest}}"],
        remedy,
    )
    manifest = json.loads(text)
    if not {"amd64", "arm64"} <= {
        part.get("platform", {}).get("architecture") for part in manifest.get("manifests", [])
    }:
        raise CheckError(
            f"{image} is not made for both arm64 and x86_64\n  set base_image to an image that is"
        )
    pinned = f"{image}@{manifest['digest']}"
    configuration["context"]["base_image"] = pinned
    cdk_json.write_text(json.dumps(configuration, indent=2) + "\n", encoding="utf-8")
    return pinned
