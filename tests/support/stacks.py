import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import aws_cdk as cdk

from classifier.contract.bundle import FILES, MANIFEST
from stacks.bundle import Bundle
from stacks.function import Function
from tests.support.requests import ROOT
from tests.support.synthesis import BULK, UPLOADS, Synthesized, new_app, read_settings
from tools.local import gateway

DOMAIN = {
    "domain": "clip.example.org",
    "certificate": (
        "arn:aws:acm:eu-central-1:123456789012:certificate/0a1b2c3d-0000-4444-8888-aabbccddeeff"
    ),
    "hosted_zone": "Z0123456789ABC",
}


NETWORKS = "203.0.113.0/24,2001:db8::/32"


ENDPOINT = "vpce-0123456789abcdef0"


KEY = "arn:aws:kms:eu-central-1:123456789012:key/0a1b2c3d-0000-4444-8888-aabbccddeeff"


TOPIC = "arn:aws:sns:eu-central-1:123456789012:ops"


BASE = "public.ecr.aws/lambda/python:3.13@sha256:" + "0123456789abcdef" * 4


EVERYTHING = {
    "playground": "true",
    "alarm_email": "ops@example.org",
    "reserved_concurrency": "4",
    "provisioned_concurrency": "2",
    "cors_origin": "https://example.org",
    "authentication": "none",
    "architecture": "x86_64",
}


# Each setting alone, and the pairs that touch the same resources.
COMBINATIONS: dict[str, dict[str, str]] = {
    "default": {},
    "everything": EVERYTHING,
    "domain": DOMAIN,
    "domain alone": {**DOMAIN, "domain_only": "true"},
    "iam": {"authentication": "iam"},
    "allowed_ips": {"allowed_ips": NETWORKS},
    "vpc_endpoint": {"vpc_endpoint": ENDPOINT},
    "quota": {"quota": "100000"},
    "api_keys": {"api_keys": "default,search"},
    "alarm_topic": {"alarm_topic": TOPIC, "alarm_email": "ops@example.org"},
    "log_key": {**BULK, "log_key": KEY},
    "slow_ms": {"slow_ms": "1000"},
    "tracing": {**BULK, "tracing": "true"},
    "base_image": {"base_image": BASE},
    "iam with allowed_ips": {"authentication": "iam", "allowed_ips": NETWORKS},
    "iam with vpc_endpoint": {"authentication": "iam", "vpc_endpoint": ENDPOINT},
    "iam with domain": {"authentication": "iam", **DOMAIN},
    "allowed_ips with domain": {"allowed_ips": NETWORKS, **DOMAIN},
    "allowed_ips with playground": {"allowed_ips": NETWORKS, "playground": "true"},
    "allowed_ips without authentication": {"allowed_ips": NETWORKS, "authentication": "none"},
    "quota with domain": {"quota": "100000", **DOMAIN},
    "vpc_endpoint with quota": {"vpc_endpoint": ENDPOINT, "quota": "100000"},
    "bulk": BULK,
    "bulk with results_days": {**BULK, "results_days": "30", "bulk_memory": "3008"},
    "bulk on a bucket that exists": {
        "bulk_bucket": "our-pictures",
        "bulk_prefix": "none",
        "bulk_key": KEY,
    },
    "uploads": UPLOADS,
    "uploads with everything": {
        **UPLOADS,
        **EVERYTHING,
        "upload_tags": "true",
        "upload_prefix": "images/new/",
        "upload_concurrency": "7",
    },
}


KEYED = {" ".join(route) for route in gateway.KEYED}


# Open to monitors, under a low throttle.
HEALTH = {"/~1health GET": (2, 5)}
PREFLIGHTS = sorted(f"OPTIONS {path}" for _, path in gateway.KEYED)


def preflight(made: Synthesized) -> tuple[int, dict[str, str]]:
    """What the gateway answers by itself."""
    integration = made.methods()["OPTIONS /"]["Integration"]
    assert integration["Type"] == "MOCK"
    (response,) = integration["IntegrationResponses"]
    prefix = "method.response.header."
    headers = {
        name.removeprefix(prefix).lower(): value.strip("'")
        for name, value in response["ResponseParameters"].items()
    }
    return int(response["StatusCode"]), headers


def responses(made: Synthesized) -> dict[str, tuple[str | None, str, str]]:
    """Status, message (… for API Gateway's own) and code by response type."""
    answers = {}
    for response in made.all("ApiGateway::GatewayResponse"):
        body = json.loads(
            response["ResponseTemplates"]["application/json"].replace(
                "$context.error.messageString", '"…"'
            )
        )
        assert set(body) == {"message", "code"}
        answers[response["ResponseType"]] = (
            response.get("StatusCode"),
            body["message"],
            body["code"],
        )
    return answers


def statements(made: Synthesized) -> list[tuple[str, object, object, object]]:
    """Effect, principal, resource and condition of each statement about who may call."""
    policy = made.one("ApiGateway::RestApi").get("Policy", {"Statement": []})
    assert {entry["Action"] for entry in policy["Statement"]} <= {"execute-api:Invoke"}
    return [
        (entry["Effect"], entry["Principal"]["AWS"], entry["Resource"], entry.get("Condition"))
        for entry in policy["Statement"]
    ]


def app(folder: Path, context: dict[str, object]) -> subprocess.CompletedProcess[str]:
    """Runs app.py as cdk does, with Node and nothing else: no Docker, no credentials."""
    node = shutil.which("node")
    assert node
    (folder / "bin").mkdir()
    (folder / "bin" / "node").symlink_to(node)
    environment = {
        "PATH": str(folder / "bin"),
        "HOME": os.environ["HOME"],
        "AWS_CONFIG_FILE": "/nowhere",
        "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
        "CDK_OUTDIR": str(folder / "out"),
        "CDK_CONTEXT_JSON": json.dumps(context),
    }
    return subprocess.run(
        [sys.executable, "app.py"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def image(root: Path, outdir: Path | None = None) -> str:
    """The image's asset hash, which is its tag."""
    cdk.AssetStaging.clear_asset_hash_cache()
    context = {} if outdir else {"aws:cdk:disable-asset-staging": True}
    app = new_app(outdir or root / "build" / "cdk.out", **context)
    settings = read_settings()
    bundle = Bundle("models/demo", tuple(f"models/demo/{name}" for name in (MANIFEST, *FILES)))
    stack = cdk.Stack(app, "stack")
    Function(stack, "Function", settings=settings, bundle=bundle, root=root)
    template = app.synth().get_stack_by_name("stack").template
    (function,) = [
        resource
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::Lambda::Function"
    ]
    return str(function["Properties"]["Code"]["ImageUri"]["Fn::Sub"].rpartition(":")[2])
