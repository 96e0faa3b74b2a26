"""Runs over a bucket's pictures by Step Functions, and uploads by EventBridge: a second function
from the same image.
"""

import json
from pathlib import Path
from typing import cast

from aws_cdk import (
    Acknowledgment,
    Arn,
    ArnComponents,
    ArnFormat,
    Aws,
    CfnOutput,
    Duration,
    Fn,
    RemovalPolicy,
    Stack,
    Validations,
)
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_event_sources as sources
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_s3_assets as assets
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_stepfunctions as stepfunctions
from constructs import Construct, IConstruct

from classifier.contract.bucket_layout import EVENT_SOURCE, MANIFESTS, MAP_RUNS, RESULTS
from classifier.contract.classifiers.folder import FOLDER
from classifier.contract.errors import ApiError
from classifier.contract.request.parsing import parse_options
from stacks.bulk.state_machine import TIMEOUT_S, definition
from stacks.bundle import Bundle
from stacks.function import ARCHITECTURES, image, log_group
from stacks.settings.deployment import OWN_PREFIXES, Settings, SettingsError

PERIOD = Duration.minutes(5)
# Of the queue's messages in one batch, and how long the queue waits for them.
UPLOADS_A_BATCH = 40
WINDOW_S = 5
ATTEMPTS = 5
LATE_S = 3600
NAG_ACKNOWLEDGEMENTS = {
    "AwsSolutions-S1": (
        "Access logs of the bucket cost as much as its pictures; turn them on where they are"
        " wanted."
    ),
    "AwsSolutions-SQS3": "The dead-letter queue itself needs none.",
    "AwsSolutions-IAM5[Resource::*]": "Actions of X-Ray and of log delivery take no resource.",
    "Serverless-SQSRedrivePolicy": "The dead-letter queue itself needs none.",
    "Serverless-LambdaEventSourceMappingDestination": (
        "What fails goes to the queue's own dead-letter queue."
    ),
    "Serverless-LambdaDLQ": "Step Functions and the queue call it, and keep what failed.",
}
BELOW = "Objects below one prefix of one bucket."


class Bulk(Construct):
    """`alarms`: name, description, metric, and the value at which each goes off."""

    def __init__(
        self, scope: Construct, id: str, *, settings: Settings, bundle: Bundle, root: Path
    ) -> None:
        super().__init__(scope, id)
        self._settings = settings
        self._prefix = settings.bulk_prefix or ""
        self._bucket = (
            self._make_bucket() if settings.bulk_bucket == "create" else self._existing_bucket()
        )
        logs = log_group(self, "Log", settings)
        self.role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        logs.grant_write(self.role)
        self.function = lambda_.DockerImageFunction(
            self,
            "Function",
            description="Batches of pictures and uploads to lines of results",
            code=image(settings, bundle, root, "classifier.bulk.handler"),
            architecture=ARCHITECTURES[settings.architecture][0],
            memory_size=settings.bulk_memory,
            timeout=Duration.seconds(TIMEOUT_S),
            environment={"BULK_BUCKET": self._bucket.bucket_name, "BULK_PREFIX": self._prefix},
            logging_format=lambda_.LoggingFormat.JSON,
            log_group=logs,
            tracing=lambda_.Tracing.ACTIVE if settings.tracing else None,
            role=self.role,
        )
        self._let_read_pictures(self.role)
        # Requests of runs are read again by each batch; that a manifest is there is looked up.
        self._allow(self.role, ["s3:GetObject"], f"{RESULTS}*/request.json")
        self._allow(self.role, ["s3:PutObject"], f"{RESULTS}*")
        self._allow_list(self.role, [f"{RESULTS}*", f"{MANIFESTS}*"])
        self._use_key(self.role, "kms:GenerateDataKey")
        machine = self._make_machine()
        self.alarms = [
            (
                "FailedRuns",
                "A run failed: open it in the console of Step Functions, or redrive it",
                machine.metric_failed(statistic="Sum", period=PERIOD),
                1,
            ),
        ]
        if settings.on_upload:
            self._add_uploads(_checked(root, settings.on_upload, bundle))
        for rule, reason in NAG_ACKNOWLEDGEMENTS.items():
            _acknowledge(self, rule, reason)
        for name, value in (
            ("Bucket", self._bucket.bucket_name),
            ("Function", self.function.function_name),
            ("StateMachine", machine.state_machine_arn),
        ):
            CfnOutput(Stack.of(self), f"Bulk{name}", value=value)

    def let_read(self, function: lambda_.Function) -> None:
        """The API's function reads the same pictures, for `image_s3`."""
        function.add_environment("BULK_BUCKET", self._bucket.bucket_name)
        function.add_environment("BULK_PREFIX", self._prefix)
        role = cast(iam.Role, function.role)
        self._let_read_pictures(role)
        _acknowledge(
            role,
            f"AwsSolutions-IAM5[Resource::{self._bucket_name_in_reports()}/{self._prefix}*]",
            BELOW,
        )

    def _make_bucket(self) -> s3.IBucket:
        """Kept when the stack is deleted; nothing in it expires unless the settings say so."""
        days = self._settings.results_days
        bucket = s3.Bucket(
            self,
            "Bucket",
            encryption=s3.BucketEncryption.S3_MANAGED,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            enforce_ssl=True,
            removal_policy=RemovalPolicy.RETAIN,
            lifecycle_rules=[
                # Parts of uploads that never end are billed and shown nowhere.
                s3.LifecycleRule(abort_incomplete_multipart_upload_after=Duration.days(7)),
                *(
                    s3.LifecycleRule(prefix=own, expiration=Duration.days(days))
                    for own in OWN_PREFIXES
                    if days
                ),
            ],
        )
        if self._settings.on_upload:
            # The construct's own way is a function that CloudFormation calls.
            notifications = s3.CfnBucket.NotificationConfigurationProperty(
                event_bridge_configuration=s3.CfnBucket.EventBridgeConfigurationProperty(
                    event_bridge_enabled=True
                )
            )
            cast(s3.CfnBucket, bucket.node.default_child).notification_configuration = notifications
        return bucket

    def _existing_bucket(self) -> s3.IBucket:
        return s3.Bucket.from_bucket_name(self, "Bucket", str(self._settings.bulk_bucket))

    def _let_read_pictures(self, role: iam.IRole) -> None:
        """Listing is what tells a missing object from a forbidden one."""
        self._allow(role, ["s3:GetObject", "s3:GetObjectVersion"], f"{self._prefix}*")
        self._allow_list(role, [f"{self._prefix}*"])
        self._use_key(role)

    def _allow(self, role: iam.IRole, actions: list[str], *keys: str) -> None:
        resources = [self._bucket.arn_for_objects(key) for key in keys]
        for key in keys:
            _acknowledge(
                self, f"AwsSolutions-IAM5[Resource::{self._bucket_name_in_reports()}/{key}]", BELOW
            )
        role.add_to_principal_policy(iam.PolicyStatement(actions=actions, resources=resources))

    def _bucket_name_in_reports(self) -> str:
        """The bucket's ARN as cdk-nag writes it."""
        if self._settings.bulk_bucket != "create":
            return f"arn:<AWS::Partition>:s3:::{self._settings.bulk_bucket}"
        bucket = cast(s3.CfnBucket, self._bucket.node.default_child)
        return f"<{Stack.of(self).get_logical_id(bucket)}.Arn>"

    def _allow_list(self, role: iam.IRole, prefixes: list[str]) -> None:
        role.add_to_principal_policy(
            iam.PolicyStatement(
                actions=["s3:ListBucket"],
                resources=[self._bucket.bucket_arn],
                conditions={"StringLike": {"s3:prefix": prefixes}},
            )
        )

    def _use_key(self, role: iam.IRole, *more: str) -> None:
        """The key's own policy must allow the role too; docs/bulk.md has the statement."""
        if self._settings.bulk_key:
            statement = iam.PolicyStatement(
                actions=["kms:Decrypt", *more], resources=[self._settings.bulk_key]
            )
            role.add_to_principal_policy(statement)

    def _make_machine(self) -> stepfunctions.StateMachine:
        role = iam.Role(self, "RunRole", assumed_by=iam.ServicePrincipal("states.amazonaws.com"))
        role.add_to_policy(
            iam.PolicyStatement(
                actions=["lambda:InvokeFunction"], resources=[self.function.function_arn]
            )
        )
        self._allow_list(role, [f"{self._prefix}*"])
        self._allow(role, ["s3:GetObject"], f"{MANIFESTS}*", f"{MAP_RUNS}*")
        self._allow(
            role,
            ["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"],
            f"{MAP_RUNS}*",
        )
        self._use_key(role, "kms:GenerateDataKey")
        machine = stepfunctions.StateMachine(
            self,
            "Runs",
            definition_body=stepfunctions.DefinitionBody.from_string(
                json.dumps(definition(), indent=1)
            ),
            definition_substitutions={
                "Bucket": self._bucket.bucket_name,
                "Function": self.function.function_arn,
                "Invoke": f"arn:{Aws.PARTITION}:states:::lambda:invoke",
                "Partition": Aws.PARTITION,
            },
            role=role,
            # Without execution data: the log would record labels and keys.
            logs=stepfunctions.LogOptions(
                destination=log_group(self, "RunLog", self._settings, _delivered_log()),
                level=stepfunctions.LogLevel.ALL,
                include_execution_data=False,
            ),
            tracing_enabled=self._settings.tracing,
        )
        # https://docs.aws.amazon.com/step-functions/latest/dg/iam-policies-eg-dist-map.html
        execution = Arn.format(
            ArnComponents(
                service="states",
                resource="execution",
                resource_name=f"{machine.state_machine_name}/*",
                arn_format=ArnFormat.COLON_RESOURCE_NAME,
            ),
            Stack.of(self),
        )
        name = Stack.of(self).get_logical_id(
            cast(stepfunctions.CfnStateMachine, machine.node.default_child)
        )
        executions = (
            f"arn:<AWS::Partition>:states:<AWS::Region>:<AWS::AccountId>:execution:<{name}.Name>/*"
        )
        _acknowledge(
            self,
            f"AwsSolutions-IAM5[Resource::{executions}]",
            "The machine's own executions, whose names Step Functions gives.",
        )
        iam.Policy(
            self,
            "MapRuns",
            roles=[role],
            statements=[
                iam.PolicyStatement(
                    actions=["states:StartExecution"], resources=[machine.state_machine_arn]
                ),
                iam.PolicyStatement(
                    actions=[
                        "states:DescribeExecution",
                        "states:StopExecution",
                        "states:RedriveExecution",
                    ],
                    resources=[execution],
                ),
            ],
        )
        return machine

    def _add_uploads(self, request: Path) -> None:
        """Events of S3 to a queue, the queue to the function."""
        asset = assets.Asset(self, "OnUpload", path=str(request))
        self.function.add_environment("ON_UPLOAD_BUCKET", asset.s3_bucket_name)
        self.function.add_environment("ON_UPLOAD_KEY", asset.s3_object_key)
        # That one file, where grant_read would give the whole bucket of the CDK.
        file = f"arn:{Aws.PARTITION}:s3:::{asset.s3_bucket_name}/{asset.s3_object_key}"
        self.role.add_to_policy(iam.PolicyStatement(actions=["s3:GetObject"], resources=[file]))
        if self._settings.upload_tags:
            self.function.add_environment("UPLOAD_TAGS", "true")
            tagging = [
                f"s3:{verb}Object{version}Tagging"
                for verb in ("Get", "Put")
                for version in ("", "Version")
            ]
            self._allow(self.role, tagging, f"{self._settings.watched_prefix}*")
        bus = Arn.format(
            ArnComponents(service="events", resource="event-bus", resource_name="default"),
            Stack.of(self),
        )
        self.role.add_to_policy(
            iam.PolicyStatement(
                actions=["events:PutEvents"],
                resources=[bus],
                conditions={"StringEquals": {"events:source": EVENT_SOURCE}},
            )
        )
        lost = sqs.Queue(
            self,
            "Lost",
            enforce_ssl=True,
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            retention_period=Duration.days(14),
        )
        queue = sqs.Queue(
            self,
            "Uploads",
            enforce_ssl=True,
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            # https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html: six times
            # the function's, and the window.
            visibility_timeout=Duration.seconds(6 * TIMEOUT_S + WINDOW_S),
            retention_period=Duration.days(14),
            dead_letter_queue=sqs.DeadLetterQueue(max_receive_count=ATTEMPTS, queue=lost),
        )
        events.Rule(
            self,
            "Uploaded",
            description="New pictures, to be classified",
            event_pattern=events.EventPattern(
                source=["aws.s3"],
                detail_type=["Object Created"],
                detail={
                    "bucket": {"name": [self._bucket.bucket_name]},
                    "object": {"key": [{"prefix": self._settings.watched_prefix}]},
                },
            ),
            targets=[targets.SqsQueue(queue, dead_letter_queue=lost)],
        )
        self.function.add_event_source(
            sources.SqsEventSource(
                queue,
                batch_size=UPLOADS_A_BATCH,
                max_batching_window=Duration.seconds(WINDOW_S),
                max_concurrency=self._settings.upload_concurrency,
                report_batch_item_failures=True,
            )
        )
        waiting = lost.metric_approximate_number_of_messages_visible(
            statistic="Maximum", period=PERIOD
        )
        age = queue.metric_approximate_age_of_oldest_message(statistic="Maximum", period=PERIOD)
        self.alarms += [
            (
                "LostUploads",
                f"Uploads failed {ATTEMPTS} times and wait in the dead-letter queue",
                waiting,
                1,
            ),
            (
                "LateUploads",
                "Uploads wait for an hour: raise upload_concurrency, or look at the function's log",
                age,
                LATE_S,
            ),
        ]


def _delivered_log() -> str:
    """A name that doesn't count against the account's one policy for delivered logs, and that no
    other deployment has: https://docs.aws.amazon.com/step-functions/latest/dg/bp-cwl.html
    """
    return f"/aws/vendedlogs/states/{Aws.STACK_NAME}-{Fn.select(2, Fn.split('/', Aws.STACK_ID))}"


def _acknowledge(construct: IConstruct, rule: str, reason: str) -> None:
    Validations.of(construct).acknowledge(
        Acknowledgment(id=f"{rule.partition('-')[0]}::{rule}", reason=reason)
    )


def _checked(root: Path, path: str, bundle: Bundle) -> Path:
    """The file of on_upload. Raises SettingsError for one that is outside the repository, no
    request without pictures, or names a classifier that isn't deployed.
    """
    setting = f"on_upload={path}"
    file = (root / path).resolve()
    if not file.is_relative_to(root.resolve()) or not file.is_file():
        raise SettingsError(f"{setting} is no file of this repository.")
    try:
        options = json.loads(file.read_bytes())
        if not isinstance(options, dict):
            raise SettingsError(
                f"{setting} must hold a JSON object with labels or categories, and options."
            )
        name = parse_options(options).classifier
    except ValueError as err:
        raise SettingsError(f"{setting} is not JSON: {err}") from err
    except ApiError as err:
        raise SettingsError(f"{setting}: {err.message}") from err
    if name is not None and f"{FOLDER}/{name}.json" not in bundle.classifiers:
        deployed = ", ".join(Path(one).stem for one in bundle.classifiers) or "none"
        raise SettingsError(
            f"{setting} names the classifier {name}, which is not deployed. Deployed by the setting"
            f" classifiers: {deployed}."
        )
    return file
