"""The function: its image (the package, one bundle and classifiers), its role and its log."""

import json
import os
from pathlib import Path
from typing import cast

from aws_cdk import DockerBuildSecret, Duration, FileSystem, IgnoreMode, RemovalPolicy
from aws_cdk import aws_ecr_assets as ecr_assets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from stacks.acknowledgements import acknowledge
from stacks.bundle import Bundle
from stacks.settings.deployment import Settings

PACKAGE = "lambdas/classifier"
# Leaves everything out, then lets in the package, the bundle's own files and the classifiers: the
# asset's hash depends on them alone.
CONTEXT = ("*", f"!{PACKAGE}", "!classifiers/README.md", "**/__pycache__", "**/*.pyc")
ARCHITECTURES = {
    "arm64": (lambda_.Architecture.ARM_64, ecr_assets.Platform.LINUX_ARM64),
    "x86_64": (lambda_.Architecture.X86_64, ecr_assets.Platform.LINUX_AMD64),
}
NAG_ACKNOWLEDGEMENTS = {
    "AwsSolutions-IAM5[Resource::*]": "X-Ray's actions can't be limited to a resource.",
    "Serverless-LambdaDLQ": "The API waits for every answer; nothing is queued.",
}


class Function(Construct):
    """`target`: the function, or its `alias` if environments are kept warm. The API calls it.
    `build`: by which the image's answers tell it from others.
    """

    def __init__(
        self, scope: Construct, id: str, *, settings: Settings, bundle: Bundle, root: Path
    ) -> None:
        super().__init__(scope, id)
        self.log_group = log_group(self, "Log", settings)
        role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        self.log_group.grant_write(role)
        self.build = _build(settings, bundle, root)
        self.function = lambda_.DockerImageFunction(
            self,
            "Function",
            description="How likely each label is for an image",
            code=image(settings, bundle, root, self.build),
            architecture=ARCHITECTURES[settings.architecture][0],
            memory_size=settings.memory,
            timeout=Duration.seconds(settings.timeout),
            reserved_concurrent_executions=settings.reserved_concurrency,
            environment={"CORS_ORIGIN": ",".join(settings.cors_origin)},
            logging_format=lambda_.LoggingFormat.JSON,
            log_group=self.log_group,
            tracing=lambda_.Tracing.ACTIVE if settings.tracing else None,
            role=role,
        )
        self.alias = "warm" if settings.provisioned_concurrency else None
        self.target: lambda_.IFunction = self.function
        if settings.provisioned_concurrency:
            self.target = lambda_.Alias(
                self,
                "Warm",
                alias_name=str(self.alias),
                version=self.function.current_version,
                provisioned_concurrent_executions=settings.provisioned_concurrency,
            )
        acknowledge(self, NAG_ACKNOWLEDGEMENTS)


def image(
    settings: Settings, bundle: Bundle, root: Path, build: str, handler: str | None = None
) -> lambda_.DockerImageCode:
    """The one image, with the handler's name instead of its own if one is given. `build`: as in
    Function.
    """
    return lambda_.DockerImageCode.from_image_asset(
        str(root),
        cmd=[handler] if handler else None,
        file=f"{PACKAGE}/Dockerfile",
        # Part of the asset's hash: a new base image is a new image.
        build_args=_arguments(settings, bundle) | {"BUILD": build},
        build_secrets=_secrets(),
        # They say how the wheels come here, and not which.
        invalidation=ecr_assets.DockerImageAssetInvalidationOptions(build_secrets=False),
        platform=ARCHITECTURES[settings.architecture][1],
        exclude=_left_out(bundle),
        ignore_mode=IgnoreMode.DOCKER,
    )


def _build(settings: Settings, bundle: Bundle, root: Path) -> str:
    """What tells one image from another: a hash of all that it is made of."""
    made_of = FileSystem.fingerprint(
        str(root),
        extra_hash=json.dumps([_arguments(settings, bundle), settings.architecture]),
        exclude=_left_out(bundle),
        ignore_mode=IgnoreMode.DOCKER,
    )
    return made_of[:12]


def _arguments(settings: Settings, bundle: Bundle) -> dict[str, str]:
    return {
        "BUNDLE": bundle.path,
        "BASE_IMAGE": settings.base_image,
        **({"TEXT_ENCODER": "later"} if bundle.all_learned else {}),
        **({"HEIC": "true"} if settings.heic else {}),
    }


def _secrets() -> dict[str, str]:
    """Pip's own variables on this machine name the files that pip needs in the build as well."""
    named = {"pip_config": "PIP_CONFIG_FILE", "certificates": "PIP_CERT"}
    paths = {name: Path(os.environ.get(variable, "")) for name, variable in named.items()}
    return {
        name: DockerBuildSecret.from_src(str(path.absolute()))
        for name, path in paths.items()
        if path.is_file()
    }


def _left_out(bundle: Bundle) -> list[str]:
    return [*CONTEXT, *(f"!{file}" for file in (*bundle.files, *bundle.classifiers))]


def log_group(
    scope: Construct, id: str, settings: Settings, name: str | None = None
) -> logs.LogGroup:
    """Deleted with the stack; keeps and encrypts lines as the settings say."""
    group = logs.LogGroup(scope, id, log_group_name=name, removal_policy=RemovalPolicy.DESTROY)
    resource = cast(logs.CfnLogGroup, group.node.default_child)
    # The construct takes only its own names for these numbers.
    resource.retention_in_days = settings.log_retention
    resource.kms_key_id = settings.log_key
    return group
