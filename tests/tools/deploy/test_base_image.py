import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.deployment import Programs
from tools.deploy.base_image import update_base
from tools.deploy.machine import CheckError

MANIFEST: dict[str, Any] = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.docker.distribution.manifest.list.v2+json",
    "digest": "sha256:" + "0123456789abcdef" * 4,
    "size": 743,
    "manifests": [
        {
            "digest": "sha256:" + "1" * 64,
            "size": 1,
            "platform": {"architecture": name, "os": "linux"},
        }
        for name in ("amd64", "arm64")
    ],
}


ONE_PLATFORM = MANIFEST | {"manifests": MANIFEST["manifests"][:1]}


def test_todays_base_image_is_pinned_and_pinned_again(inside: Programs, cdk_json: Path) -> None:
    before = json.loads(cdk_json.read_text(encoding="utf-8"))
    for digit in "ab":
        manifest = json.dumps(MANIFEST | {"digest": "sha256:" + digit * 64}, indent=2)
        inside.add("docker", f"cat <<'END'\n{manifest}\nEND")
        assert update_base(cdk_json) == "public.ecr.aws/lambda/python:3.13@sha256:" + digit * 64
    after = json.loads(cdk_json.read_text(encoding="utf-8"))
    assert (
        after["context"].pop("base_image") == "public.ecr.aws/lambda/python:3.13@sha256:" + "b" * 64
    )
    assert after == before
    # Each time by the tag, which moves, and not by the digest before.
    assert {call.split()[4] for call in inside.calls("docker buildx imagetools inspect")} == {
        "public.ecr.aws/lambda/python:3.13"
    }


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            (
                'echo "ERROR: unexpected status from HEAD request to https://public.ecr.aws/v2/:'
                ' 403 Forbidden" >&2; exit 1'
            ),
            "docker logout public.ecr.aws",
        ),
        (
            f"cat <<'END'\n{json.dumps(ONE_PLATFORM)}\nEND",
            "not made for both",
        ),
    ],
)
def test_a_base_image_that_cannot_be_used_changes_nothing(
    inside: Programs, cdk_json: Path, script: str, message: str
) -> None:
    before = cdk_json.read_bytes()
    inside.add("docker", script)
    with pytest.raises(CheckError, match=message):
        update_base(cdk_json)
    assert cdk_json.read_bytes() == before
