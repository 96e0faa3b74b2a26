"""The REST API: one resource, and the gateway's own answers in the same shape as the handler's."""

import json
from typing import cast

from aws_cdk import Acknowledgment, Duration, Validations
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from stacks.function import log_group
from stacks.settings import Settings

# Each one by name: with */* a JSON body would arrive in base64 as well.
BINARY = [f"image/{kind}" for kind in ("jpeg", "png", "webp", "gif", "bmp", "avif")] + ["application/octet-stream"]
# A stranger's visit to the playground starts the function.
PLAYGROUND_THROTTLE = apigateway.MethodDeploymentOptions(throttling_rate_limit=2, throttling_burst_limit=5)
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
# Of the answers that API Gateway gives by itself: status (None: each keeps its own), message (None: the gateway's), code.
ANSWERS: dict[str, tuple[int | None, str | None, str]] = {
    "DEFAULT_4XX": (None, None, "invalid_request"),
    "INVALID_API_KEY": (403, "The API key is missing or wrong; send it in the header x-api-key.", "forbidden"),
    # What the gateway says of every unknown path and method.
    "MISSING_AUTHENTICATION_TOKEN": (404, "There is nothing at this path with this method; POST to /.", "not_found"),
    "REQUEST_TOO_LARGE": (413, "The body is too large; keep it below 6 MB, which is 4.5 MB of image.", "too_large"),
    "UNSUPPORTED_MEDIA_TYPE": (415, "Send JSON or an image, and say so in Content-Type.", "unsupported_media_type"),
    "THROTTLED": (429, "Too many requests; try again later, each time after a longer pause.", "too_many_requests"),
    # No environment free, one that failed to start, or a function that was idle for weeks.
    "DEFAULT_5XX": (None, "No answer this time; try again, each time after a longer pause.", "unavailable"),
    "INTEGRATION_TIMEOUT": (504, "Out of time; ask for less at once, or try again.", "out_of_time"),
}
# What cdk-nag finds and why it stays.
NAG_ACKNOWLEDGEMENTS = {
    "APIG2": "The handler checks every field and says what is wrong with it.",
    "APIG3": "A web ACL costs by the month; the key and the throttle guard.",
    "APIG4": "POST asks for an API key unless the settings say none.",
    "APIG6": "The execution log would record images and labels.",
    "COG4": "Callers are programs with a key; there are no users to sign in.",
}


class Api(Construct):
    """`url` ends in a slash; `key` is None where everyone may call."""

    def __init__(self, scope: Construct, id: str, *, settings: Settings, target: lambda_.IFunction) -> None:
        super().__init__(scope, id)
        self.rest = apigateway.RestApi(
            self,
            "Rest",
            # Its metrics go by name: one a stack.
            rest_api_name=settings.name,
            description="How likely each label is for an image",
            endpoint_types=[apigateway.EndpointType.REGIONAL],
            binary_media_types=BINARY,
            # The role that lets API Gateway write logs is the account's: make bootstrap sees to it.
            cloud_watch_role=False,
            deploy_options=apigateway.StageOptions(
                throttling_rate_limit=settings.throttle_rate,
                throttling_burst_limit=settings.throttle_burst,
                method_options={"//GET": PLAYGROUND_THROTTLE, "/openapi.json/GET": PLAYGROUND_THROTTLE}
                if settings.playground
                else None,
                access_log_destination=apigateway.LogGroupLogDestination(log_group(self, "AccessLog", settings)),
                access_log_format=apigateway.AccessLogFormat.custom(json.dumps(ACCESS_LOG)),
                # Would hold bodies and query strings, so labels.
                logging_level=apigateway.MethodLoggingLevel.OFF,
                data_trace_enabled=False,
                tracing_enabled=True,
            ),
        )
        self.rest.node.try_remove_child("Endpoint")
        self.url, self.stage = self.rest.url, self.rest.deployment_stage
        integration = apigateway.LambdaIntegration(target, allow_test_invoke=False, timeout=Duration.seconds(29))
        needs_key = settings.authentication == "api_key"
        self.rest.root.add_method("POST", integration, api_key_required=needs_key)
        # Answered by the gateway: a preflight neither waits for the function nor starts it.
        self.rest.root.add_cors_preflight(
            allow_origins=[settings.cors_origin],
            allow_methods=["POST", "OPTIONS"],
            allow_headers=["Authorization", "Content-Type", "X-Api-Key"],
        )
        if settings.playground:
            # CloudFormation calls the root a slash alone, where CDK writes /~1:
            # https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-properties-apigateway-stage-methodsetting.html
            stage = cast(apigateway.CfnStage, self.stage.node.default_child)
            stage.add_property_override("MethodSettings.1.ResourcePath", "/")
            self.rest.root.add_method("GET", integration)
            self.rest.root.add_resource("openapi.json").add_method("GET", integration)
        for name, (status, message, code) in ANSWERS.items():
            said = json.dumps(message) if message else "$context.error.messageString"
            self.rest.add_gateway_response(
                name,
                type=apigateway.ResponseType.of(name),
                status_code=str(status) if status else None,
                response_headers={"Access-Control-Allow-Origin": f"'{settings.cors_origin}'"},
                templates={"application/json": f'{{"message": {said}, "code": "{code}"}}'},
            )
        self.key: apigateway.IApiKey | None = None
        if needs_key:
            plan = self.rest.add_usage_plan("Plan", api_stages=[apigateway.UsagePlanPerApiStage(stage=self.stage)])
            self.key = self.rest.add_api_key("Key")
            plan.add_api_key(self.key)
        for rule, reason in NAG_ACKNOWLEDGEMENTS.items():
            Validations.of(self).acknowledge(Acknowledgment(id=f"AwsSolutions::AwsSolutions-{rule}", reason=reason))
