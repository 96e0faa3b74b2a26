"""Checks of the settings and of the AWS account, before the model and the image are made."""

import contextlib
import json
import platform
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from classifier.contract.bundle import MANIFEST, BundleError, read_manifest
from classifier.contract.classifiers.file import FittedOn
from classifier.engine.check import check_prompts
from stacks.bundle import deployed_classifiers
from stacks.settings.deployment import Settings
from stacks.settings.errors import SettingsError
from tools.bundles import MODELS, of_model, real
from tools.deploy.account import CDK_JSON, ROOT, logging_role
from tools.deploy.aws import AwsError, aws
from tools.deploy.machine import CheckError, docker, region, run

# https://docs.aws.amazon.com/cdk/v2/guide/bootstrapping-env.html: what the templates of this CDK
# ask for.
MIN_BOOTSTRAP = 6
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html: what must stay
# unreserved.
MIN_UNRESERVED = 100


def context() -> dict[str, Any]:
    """The context in cdk.json."""
    values: dict[str, Any] = json.loads(CDK_JSON.read_text(encoding="utf-8"))["context"]
    return values


def check_region(settings: Settings) -> None:
    settings.check_region(region())


def check_bootstrap(_: Settings) -> None:
    """CDK's own stack in this account and region, without which `cdk deploy` fails after the long
    export.
    """
    qualifier = context().get("@aws-cdk/core:bootstrapQualifier", "hnb659fds")
    name = f"/cdk-bootstrap/{qualifier}/version"
    try:
        version = aws(
            "ssm", "get-parameter", "--name", name, "--query", "Parameter.Value", "--output", "text"
        )
    except AwsError as err:
        if err.code == "ParameterNotFound":
            raise CheckError(
                "the CDK is not set up in this account and region\n  run once: make bootstrap"
            ) from err
        if err.code.startswith("AccessDenied"):
            # The CDK reads it with a role of its own, which may be allowed more.
            print(f"Can't tell whether the CDK is set up here: {err}", file=sys.stderr)
            return
        raise
    if not version.isdecimal() or int(version) < MIN_BOOTSTRAP:
        raise CheckError(
            f"the CDK's set-up in this account and region has version {version}, which is too old\n"
            "  run: make bootstrap"
        )


def check_logging_role(_: Settings) -> None:
    if not logging_role():
        raise CheckError(
            "API Gateway has no role to write logs with in this account and region\n  run once:"
            " make bootstrap"
        )


def check_concurrency(settings: Settings) -> None:
    """Refuses what the account's quota can't hold, which would roll the stack back, and warns of a
    burst that it can't serve.
    """
    try:
        limits = json.loads(
            aws("lambda", "get-account-settings", "--query", "AccountLimit", "--output", "json")
        )
    except AwsError as err:
        if not err.code.startswith("AccessDenied"):
            raise
        print(f"Can't tell how many environments the account may run: {err}", file=sys.stderr)
        return
    quota = limits["ConcurrentExecutions"]
    unreserved = limits["UnreservedConcurrentExecutions"]
    name = "reserved_concurrency" if settings.reserved_concurrency else "provisioned_concurrency"
    wanted = settings.reserved_concurrency or settings.provisioned_concurrency or 0
    free = max(0, unreserved - min(MIN_UNRESERVED, quota))
    if wanted > free:
        free += _already_taken(settings.name)
    if wanted > free:
        fits = (
            f"at most {free} fit: SETTINGS={name}={free}"
            if free
            else f"none fits: leave {name} out"
        )
        raise CheckError(
            f"{name}={wanted} is more than this account can spare: its quota is {quota},"
            f" {unreserved} are not reserved, and {min(MIN_UNRESERVED, quota)} of them must stay"
            f" so\n  {fits}; or ask for a higher quota:"
            " https://console.aws.amazon.com/servicequotas/home/services/lambda/quotas/L-B99A9384"
        )
    serves = settings.reserved_concurrency or unreserved
    if settings.throttle_burst > serves:
        print(
            f"Note: {serves} environments can run at once, and"
            f" throttle_burst={settings.throttle_burst} lets more calls in; those that "
            f'find none free get a 500. SETTINGS="throttle_burst={serves}" answers them with a 429'
            " instead."
        )


def _already_taken(stack: str) -> int:
    """The environments that the stack's functions have reserved; 0 before the first deployment."""
    query = "StackResources[?ResourceType=='AWS::Lambda::Function'].PhysicalResourceId"
    try:
        arguments = [
            "cloudformation",
            "describe-stack-resources",
            "--stack-name",
            stack,
            "--query",
            query,
            "--output",
            "text",
        ]
        # As text the AWS CLI puts tabs between names; with bulk there are two.
        reserved = [
            aws("lambda", "get-function-concurrency", "--function-name", name, "--output", "json")
            for name in aws(*arguments).split()
        ]
    except AwsError as err:
        if err.code in ("ValidationError", "ResourceNotFoundException"):
            return 0
        raise
    return sum(json.loads(one or "{}").get("ReservedConcurrentExecutions", 0) for one in reserved)


def check_model(settings: Settings, root: Path = ROOT) -> None:
    """Notes that there are other bundles to deploy than the default one."""
    if settings.bundle != context().get("bundle"):
        return
    found = [path for path in real(root / MODELS) if path != root / settings.bundle]
    if found:
        others = " or ".join(f"BUNDLE={path.relative_to(root)}" for path in found)
        is_there = (root / settings.bundle / MANIFEST).exists()
        print(
            f"Note: {settings.bundle}, which cdk.json names,"
            f" {'is deployed' if is_there else 'is missing and is made first'}. To deploy another"
            f" bundle that is here: {others}"
        )


def check_classifiers(settings: Settings, root: Path = ROOT) -> None:
    """Before the model is made, which takes long, this checks the settings that don't depend on
    it, and the names of the models that classifiers were fitted on.
    """
    manifest = None
    with contextlib.suppress(BundleError):
        manifest = read_manifest(root / settings.bundle, verify_hashes=False)
    files, _ = deployed_classifiers(root, settings, manifest, check_prompts)
    # Of all classifiers, those of another model are left out.
    if settings.classifiers == "all" or (root / settings.bundle / MANIFEST).exists():
        return
    wrong = [
        f"classifiers={name}: {_of_another(file.fitted_on, settings, root)}"
        for name, file in files.items()
        if file.fitted_on and _made_into(file.fitted_on.model) != settings.bundle
    ]
    if wrong:
        raise CheckError("\n".join(wrong))


def _made_into(model: str) -> str:
    """The folder into which `make model` writes the bundle of the model of this name."""
    return f"{MODELS}/{model.replace('/', '-')}"


def _of_another(fitted: FittedOn, settings: Settings, root: Path) -> str:
    found = [str(path.relative_to(root)) for path in of_model(fitted.fingerprint, root / MODELS)]
    return (
        f"it was fitted on {fitted.model}, and {settings.bundle}, which doesn't exist yet, is of"
        " another model\n  deploy it with the model that it was fitted on:"
        f" BUNDLE={(found or [_made_into(fitted.model)])[0]}"
    )


def check_builder(settings: Settings) -> None:
    """Podman 4.5 has buildah 1.30, the first that tells the base of the machine that builds from
    the target's. The Dockerfile reads what was built; this says it before the model is made.
    """
    own = {"aarch64": "arm64", "AMD64": "x86_64"}.get(platform.machine(), platform.machine())
    if Path(docker()).name != "podman" or settings.architecture == own:
        return
    version = run([docker(), "version", "--format", "{{.Client.Version}}"], "install podman")
    numbers = [int(number) for number in re.findall(r"\d+", version)[:2]]
    if numbers < [4, 5]:
        raise CheckError(
            f"podman {version} can't build for {settings.architecture} on {own}\n  take podman 4.5"
            f' or newer, Docker, or SETTINGS="architecture={own}"'
        )


CHECKS: Mapping[str, Callable[[Settings], None]] = {
    "builder": check_builder,
    "model": check_model,
    "classifiers": check_classifiers,
    "region": check_region,
    "bootstrap": check_bootstrap,
    "logging-role": check_logging_role,
    "concurrency": check_concurrency,
}


def check(names: Sequence[str], settings: Settings) -> list[str]:
    """Every problem that was found, each with what to do about it."""
    problems = []
    for name in names:
        try:
            CHECKS[name](settings)
        except (CheckError, SettingsError) as err:
            problems.append(f"{name}: {err}")
    return problems
