"""Runs over a bucket's images by Step Functions, and uploads by EventBridge: a second function
from the same image.
"""

from pathlib import Path

from aws_cdk import CfnOutput, Duration, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from classifier.contract.bucket_layout import MANIFESTS, RESULTS
from stacks.acknowledgements import acknowledge
from stacks.bulk.bucket import ImageBucket
from stacks.bulk.runs import add_runs
from stacks.bulk.state_machine import TIMEOUT_S
from stacks.bulk.uploads import add_uploads, read_request
from stacks.bundle import Bundle
from stacks.function import ARCHITECTURES, image, log_group
from stacks.monitoring import PERIOD, Alarm
from stacks.settings.deployment import Settings

NAG_ACKNOWLEDGEMENTS = {
    "AwsSolutions-S1": (
        "Access logs of the bucket cost as much as its images; turn them on if you want them."
    ),
    "AwsSolutions-SQS3": "The dead-letter queue itself needs none.",
    "AwsSolutions-IAM5[Resource::*]": "Actions of X-Ray and of log delivery take no resource.",
    "Serverless-SQSRedrivePolicy": "The dead-letter queue itself needs none.",
    "Serverless-LambdaEventSourceMappingDestination": (
        "What fails goes to the queue's own dead-letter queue."
    ),
    "Serverless-LambdaDLQ": "Step Functions and the queue call it, and keep what failed.",
}


class Bulk(Construct):
    """`build`: as in Function. `alarms`: Monitoring adds them to its own. `bucket`: the API's
    function may read it too.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        settings: Settings,
        bundle: Bundle,
        root: Path,
        build: str,
    ) -> None:
        super().__init__(scope, id)
        self.bucket = ImageBucket(self, settings)
        logs = log_group(self, "Log", settings)
        role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        logs.grant_write(role)
        function = lambda_.DockerImageFunction(
            self,
            "Function",
            description="Turns batches of images and uploads into lines of results",
            code=image(settings, bundle, root, build, "classifier.bulk.handler"),
            architecture=ARCHITECTURES[settings.architecture][0],
            memory_size=settings.bulk_memory,
            timeout=Duration.seconds(TIMEOUT_S),
            environment={"BULK_BUCKET": self.bucket.name, "BULK_PREFIX": self.bucket.images},
            logging_format=lambda_.LoggingFormat.JSON,
            log_group=logs,
            tracing=lambda_.Tracing.ACTIVE if settings.tracing else None,
            role=role,
        )
        self.bucket.let_read_images(role)
        # Each batch reads its run's request again. Listing shows whether a manifest exists.
        self.bucket.allow(role, ["s3:GetObject"], f"{RESULTS}*/request.json")
        self.bucket.allow(role, ["s3:PutObject"], f"{RESULTS}*")
        self.bucket.allow_list(role, [f"{RESULTS}*", f"{MANIFESTS}*"])
        self.bucket.use_key(role, "kms:GenerateDataKey")
        machine = add_runs(self, settings, self.bucket, function)
        self.alarms = [
            Alarm(
                "FailedRuns",
                "A run failed: open it in the console of Step Functions, or redrive it",
                machine.metric_failed(statistic="Sum", period=PERIOD),
                1,
            ),
        ]
        if settings.on_upload:
            request = read_request(root, settings.on_upload, bundle)
            self.alarms += add_uploads(self, settings, self.bucket, function, request)
        acknowledge(self, NAG_ACKNOWLEDGEMENTS)
        for name, value in (
            ("Bucket", self.bucket.name),
            ("Function", function.function_name),
            ("StateMachine", machine.state_machine_arn),
        ):
            CfnOutput(Stack.of(self), f"Bulk{name}", value=value)
