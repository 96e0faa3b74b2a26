"""The REST API: its resources, its stage, and API Gateway's own error responses in the handler's
format.
"""

import json
from pathlib import Path
from typing import cast

from aws_cdk import Duration
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from classifier.contract.routes import GUARDED, OPEN, PREFLIGHT_HEADERS, PREFLIGHTS
from stacks.acknowledgements import acknowledge
from stacks.api.domain import add_domain
from stacks.api.gateway_responses import (
    ACCESS_RESPONSES,
    GATEWAY_RESPONSES,
    IAM_RESPONSES,
    QUOTA_RESPONSES,
)
from stacks.api.keys import add_keys
from stacks.api.resource_policy import resource_policy
from stacks.function import PACKAGE, log_group
from stacks.settings.deployment import Settings

# Anyone can call an open route, and that starts the function.
OPEN_THROTTLE = apigateway.MethodDeploymentOptions(
    throttling_rate_limit=2, throttling_burst_limit=5
)
ACCESS_LOG = {
    "requestId": "$context.requestId",
    "time": "$context.requestTime",
    "ip": "$context.identity.sourceIp",
    "key": "$context.identity.apiKeyId",
    "method": "$context.httpMethod",
    "resource": "$context.resourcePath",
    "status": "$context.status",
    "bytes": "$context.responseLength",
    "latency": "$context.responseLatency",
    "integrationLatency": "$context.integrationLatency",
    "integrationStatus": "$context.integrationStatus",
    "refusal": "$context.error.responseType",
}
# The headers of a signed request, apart from Authorization.
SIGNATURE_HEADERS = ["X-Amz-Date", "X-Amz-Security-Token", "X-Amz-Content-Sha256"]
# Findings of cdk-nag that stay, and why.
NAG_ACKNOWLEDGEMENTS = {
    "AwsSolutions-APIG2": "The handler checks every field and says what is wrong with it.",
    "AwsSolutions-APIG3": (
        "A web ACL costs money every month; the key and the throttle protect the API."
    ),
    "AwsSolutions-APIG4": "POST needs an API key or a signature unless the settings say none.",
    "AwsSolutions-APIG6": "The execution log would record images and labels.",
    "AwsSolutions-COG4": "Callers are programs with a key; there are no users to sign in.",
}


class Api(Construct):
    """`url` ends in a slash; `keys` by name, none if callers need none."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        settings: Settings,
        target: lambda_.IFunction,
        root: Path,
    ) -> None:
        super().__init__(scope, id)
        document = json.loads((root / PACKAGE / "api" / "openapi.json").read_text(encoding="utf-8"))
        open_routes = [route for route in OPEN if settings.playground or not route.playground]
        endpoint = (
            settings.vpc_endpoint
            and ec2.InterfaceVpcEndpoint.from_interface_vpc_endpoint_attributes(
                self, "VpcEndpoint", vpc_endpoint_id=settings.vpc_endpoint, port=443
            )
        )
        self.rest = apigateway.RestApi(
            self,
            "Rest",
            # CloudWatch keeps an API's metrics by its name: one per stack.
            rest_api_name=settings.name,
            description="How likely each label is for an image",
            endpoint_configuration=apigateway.EndpointConfiguration(
                types=[
                    (
                        apigateway.EndpointType.PRIVATE
                        if endpoint
                        else apigateway.EndpointType.REGIONAL
                    )
                ],
                vpc_endpoints=[endpoint] if endpoint else None,
                ip_address_type=apigateway.IpAddressType.DUAL_STACK,
            ),
            disable_execute_api_endpoint=settings.domain_only or None,
            policy=resource_policy(settings),
            binary_media_types=document["x-amazon-apigateway-binary-media-types"],
            # The role that lets API Gateway write logs belongs to the account: `make bootstrap`
            # makes it.
            cloud_watch_role=False,
            deploy_options=apigateway.StageOptions(
                throttling_rate_limit=settings.throttle_rate,
                throttling_burst_limit=settings.throttle_burst,
                method_options={
                    f"{route.path}/{route.method}": OPEN_THROTTLE for route in open_routes
                }
                or None,
                access_log_destination=apigateway.LogGroupLogDestination(
                    log_group(self, "AccessLog", settings)
                ),
                access_log_format=apigateway.AccessLogFormat.custom(json.dumps(ACCESS_LOG)),
                # The execution log would hold bodies and query strings, and so labels.
                logging_level=apigateway.MethodLoggingLevel.OFF,
                data_trace_enabled=False,
                tracing_enabled=settings.tracing,
            ),
        )
        self.rest.node.try_remove_child("Endpoint")
        # A regional API takes TLS 1.0 unless told otherwise. This policy needs no endpoint access
        # mode, and takes TLS 1.3 too:
        # https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-security-policies-list.html
        cast(apigateway.CfnRestApi, self.rest.node.default_child).security_policy = "TLS_1_2"
        self.url = self.rest.url
        self.stage = self.rest.deployment_stage
        if settings.vpc_endpoint:
            # This name works with and without the endpoint's private DNS:
            # https://docs.aws.amazon.com/apigateway/latest/developerguide/associate-private-api-with-vpc-endpoint.html
            self.url = self.url.replace(
                self.rest.rest_api_id, f"{self.rest.rest_api_id}-{settings.vpc_endpoint}", 1
            )
        integration = apigateway.LambdaIntegration(
            target, allow_test_invoke=False, timeout=Duration.seconds(29)
        )
        needs_key = settings.authentication == "api_key"
        signed = settings.authentication == "iam"
        for route in GUARDED:
            self.rest.root.resource_for_path(route.path).add_method(
                route.method,
                integration,
                api_key_required=needs_key,
                authorization_type=apigateway.AuthorizationType.IAM if signed else None,
            )
        # Of several origins only the function can name the caller's. What API Gateway answers by
        # itself holds no result.
        origin = settings.cors_origin[0] if len(settings.cors_origin) == 1 else "*"
        for path in PREFLIGHTS:
            # Answered by API Gateway: a preflight neither waits for the function nor starts it.
            self.rest.root.resource_for_path(path).add_cors_preflight(
                allow_origins=[origin],
                allow_methods=[*(one.method for one in GUARDED if one.path == path), "OPTIONS"],
                allow_headers=(
                    [name for name in PREFLIGHT_HEADERS if name != "X-Api-Key"] + SIGNATURE_HEADERS
                    if signed
                    else list(PREFLIGHT_HEADERS)
                ),
            )
        for i, route in enumerate(open_routes, 1):
            self.rest.root.resource_for_path(route.path).add_method(route.method, integration)
            if route.path == "/":
                # CloudFormation's name of the root is a slash, but CDK writes /~1:
                # https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-properties-apigateway-stage-methodsetting.html
                stage = cast(apigateway.CfnStage, self.stage.node.default_child)
                stage.add_property_override(f"MethodSettings.{i}.ResourcePath", "/")
        responses = GATEWAY_RESPONSES | (ACCESS_RESPONSES if resource_policy(settings) else {})
        quotas = needs_key and any(map(settings.quota_of, settings.api_keys))
        responses |= (IAM_RESPONSES if signed else {}) | (QUOTA_RESPONSES if quotas else {})
        for name, (status, message, code) in responses.items():
            text = json.dumps(message) if message else "$context.error.messageString"
            self.rest.add_gateway_response(
                name,
                type=apigateway.ResponseType.of(name),
                status_code=str(status) if status else None,
                response_headers={"Access-Control-Allow-Origin": f"'{origin}'"},
                templates={"application/json": f'{{"message": {text}, "code": "{code}"}}'},
            )
        self.keys = add_keys(self.rest, settings) if needs_key else {}
        if settings.domain:
            self.url = f"https://{settings.domain}/"
            add_domain(self, self.rest, settings)
        acknowledge(self, NAG_ACKNOWLEDGEMENTS)
