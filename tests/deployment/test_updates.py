"""Changes of a deployment: its classifiers, its model, where pip installs from."""

import json
import re
import sys
from collections.abc import Iterator

import pytest

from tests.deployment.conftest import real_model
from tests.deployment.test_deploy import ask, deploy, outputs
from tests.support.account import Account
from tests.support.image_store import HOME
from tests.support.machine import run
from tests.support.requests import ROOT

OTHER = ("ViT-B-32-256", "datacomp_s34b_b86k")


@pytest.fixture(scope="module")
def key(aws: Account) -> Iterator[str]:
    aws.run("make", "bootstrap")
    deploy(aws)
    yield "x-api-key: " + aws.run(*outputs(aws)["ApiKeyCommand"].split()).stdout.strip()
    aws.run("make", "destroy", "YES=1")


def decision(aws: Account, key: str) -> list[str]:
    status, text = ask(aws, "-H", key, path="?classifier=pets")
    assert status == 200, text
    return list(json.loads(text)["result"])


def test_a_new_and_a_changed_classifier_and_another_model_are_deployed(
    aws: Account, key: str
) -> None:
    file = aws.folder / "classifiers" / "pets.json"
    assert ask(aws, "-H", key, path="?classifier=pets")[0] == 400
    file.write_text(json.dumps({"labels": ["a dog", "a cat"]}))
    assert "It answered after" in deploy(aws)
    assert decision(aws, key) == ["a dog", "a cat"]

    file.write_text(json.dumps({"labels": ["a dog", "a horse"]}))
    model, pretrained = OTHER
    real_model(aws.folder / "models" / "-".join(OTHER), model, pretrained)
    named = (f"MODEL={model}", f"PRETRAINED={pretrained}")
    assert "It answered after" in aws.run("make", "deploy-cdk", *named).stdout
    assert decision(aws, key) == ["a dog", "a horse"]
    headers = aws.run("curl", "-s", "-i", outputs(aws)["Url"] + "health").stdout
    assert re.findall(r"(?im)^x-model: (\S+)", headers) == ["/".join(OTHER)]
    file.unlink()


def test_a_build_installs_from_an_index_of_ones_own(aws: Account, key: str) -> None:
    """It has nothing but what heic=true adds, by a certificate that this machine alone trusts."""
    lock = ROOT / "lambdas/classifier/requirements-heic.lock"
    wheels = ("--only-binary=:all:", "--python-version", "3.13", "--platform=manylinux_2_28_x86_64")
    pip = (sys.executable, "-m", "pip", "download", "-q", "--no-deps", *wheels)
    run(*pip, "--require-hashes", "-r", lock, "-d", HOME / "index")
    files = [path.name for path in (HOME / "index").glob("*.whl")]
    assert files
    configuration = str(HOME / "index" / "pip.conf")
    assert "It answered after" in deploy(aws, "heic=true", PIP_CONFIG_FILE=configuration)
    fetched = re.findall(r'"GET /(\S+\.whl) HTTP/\S+" 200', (HOME / "services.log").read_text())
    assert fetched == files
