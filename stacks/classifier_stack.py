"""The whole deployment: a function, the API in front of it, and monitoring of both."""

from pathlib import Path

from aws_cdk import CfnOutput, Stack
from constructs import Construct

from stacks.acknowledgements import acknowledge
from stacks.api.rest_api import Api
from stacks.bulk.bulk import Bulk
from stacks.bundle import Bundle
from stacks.function import Function
from stacks.monitoring import Monitoring
from stacks.settings.access import DEFAULT_KEY
from stacks.settings.deployment import Settings

# Findings of cdk-nag if there are no traces.
TRACING_RULES = (
    "AwsSolutions-SF2",
    "Serverless-APIGWXrayEnabled",
    "Serverless-LambdaTracing",
    "Serverless-StepFunctionStateMachineXray",
)


class ClassifierStack(Stack):
    """An account can hold several; nothing has a fixed name or belongs to the account."""

    def __init__(self, scope: Construct, *, settings: Settings, bundle: Bundle, root: Path) -> None:
        super().__init__(
            scope,
            settings.name,
            description="clip-classifier-lambda: how likely each label is for an image",
        )
        function = Function(self, "Function", settings=settings, bundle=bundle, root=root)
        api = Api(self, "Api", settings=settings, target=function.target, root=root)
        bulk = (
            Bulk(self, "Bulk", settings=settings, bundle=bundle, root=root, build=function.build)
            if settings.bulk_bucket
            else None
        )
        monitoring = Monitoring(
            self,
            "Monitoring",
            settings=settings,
            stage=api.stage,
            function=function.function,
            log_group=function.log_group,
            others=bulk.alarms if bulk else (),
        )
        if bulk:
            bulk.bucket.open_to(function.function)
        if not settings.tracing:
            reason = "Traces cost money by the call; the setting tracing turns them on."
            acknowledge(self, dict.fromkeys(TRACING_RULES, reason))
        CfnOutput(self, "Url", value=api.url)
        CfnOutput(self, "FunctionName", value=function.function.function_name)
        CfnOutput(self, "Build", value=function.build)
        # How the endpoint can be called, for `make deploy-cdk`: if these are missing, from
        # anywhere, without a signature, as often as one likes, and without an alias.
        for name, value in (
            ("Authentication", "iam" if settings.authentication == "iam" else None),
            ("VpcEndpoint", settings.vpc_endpoint),
            ("AllowedIps", ",".join(settings.allowed_ips or ())),
            ("Quota", settings.quota_of(next(iter(api.keys))) if api.keys else None),
            ("Alias", function.alias),
        ):
            if value:
                CfnOutput(self, name, value=str(value))
        # `make deploy-cdk` calls with the first.
        for number, (name, key) in enumerate(api.keys.items()):
            command = (
                f"aws apigateway get-api-key --region {self.region} --api-key {key.key_id}"
                " --include-value --query value --output text"
            )
            if number == 0:
                CfnOutput(self, "ApiKeyCommand", value=command)
            if name != DEFAULT_KEY:
                CfnOutput(self, f"ApiKeyCommand{name.capitalize()}", value=command)
        console = (
            f"https://{self.region}.console.aws.amazon.com/cloudwatch/home?region={self.region}"
        )
        CfnOutput(
            self,
            "Dashboard",
            value=f"{console}#dashboards/dashboard/{monitoring.dashboard.dashboard_name}",
        )
