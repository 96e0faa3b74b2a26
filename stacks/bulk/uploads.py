"""New images in the bucket: a rule of EventBridge, a queue, and one for failures."""

import json
from pathlib import Path
from typing import cast

from aws_cdk import Arn, ArnComponents, Aws, Duration, Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_event_sources as sources
from aws_cdk import aws_s3_assets as assets
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from classifier.contract.bucket_layout import EVENT_SOURCE
from classifier.contract.classifiers.folder import FOLDER
from classifier.contract.errors import ApiError
from classifier.contract.request.parsing import parse_options
from stacks.bulk.bucket import ImageBucket
from stacks.bulk.state_machine import TIMEOUT_S
from stacks.bundle import Bundle
from stacks.monitoring import PERIOD, Alarm
from stacks.settings.deployment import Settings
from stacks.settings.errors import SettingsError

# Of the queue's messages in one batch, and how long the queue waits for them.
UPLOADS_A_BATCH = 40
WINDOW_S = 5
ATTEMPTS = 5
LATE_S = 3600


def add_uploads(
    scope: Construct,
    settings: Settings,
    bucket: ImageBucket,
    function: lambda_.Function,
    request: Path,
) -> list[Alarm]:
    """S3's events go to a queue, and the queue's messages to the function. `request`: the checked
    file.
    """
    role = cast(iam.Role, function.role)
    asset = assets.Asset(scope, "OnUpload", path=str(request))
    function.add_environment("ON_UPLOAD_BUCKET", asset.s3_bucket_name)
    function.add_environment("ON_UPLOAD_KEY", asset.s3_object_key)
    # Only that file. grant_read would open the CDK's whole bucket.
    file = f"arn:{Aws.PARTITION}:s3:::{asset.s3_bucket_name}/{asset.s3_object_key}"
    role.add_to_principal_policy(iam.PolicyStatement(actions=["s3:GetObject"], resources=[file]))
    if settings.upload_tags:
        function.add_environment("UPLOAD_TAGS", "true")
        tagging = [
            f"s3:{verb}Object{version}Tagging"
            for verb in ("Get", "Put")
            for version in ("", "Version")
        ]
        bucket.allow(role, tagging, f"{settings.watched_prefix}*")
    bus = Arn.format(
        ArnComponents(service="events", resource="event-bus", resource_name="default"),
        Stack.of(scope),
    )
    role.add_to_principal_policy(
        iam.PolicyStatement(
            actions=["events:PutEvents"],
            resources=[bus],
            conditions={"StringEquals": {"events:source": EVENT_SOURCE}},
        )
    )
    lost = sqs.Queue(
        scope,
        "Lost",
        enforce_ssl=True,
        encryption=sqs.QueueEncryption.SQS_MANAGED,
        retention_period=Duration.days(14),
    )
    queue = sqs.Queue(
        scope,
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
        scope,
        "Uploaded",
        description="New images, to be classified",
        event_pattern=events.EventPattern(
            source=["aws.s3"],
            detail_type=["Object Created"],
            detail={
                "bucket": {"name": [bucket.name]},
                "object": {"key": [{"prefix": settings.watched_prefix}]},
            },
        ),
        targets=[targets.SqsQueue(queue, dead_letter_queue=lost)],
    )
    function.add_event_source(
        sources.SqsEventSource(
            queue,
            batch_size=UPLOADS_A_BATCH,
            max_batching_window=Duration.seconds(WINDOW_S),
            max_concurrency=settings.upload_concurrency,
            report_batch_item_failures=True,
        )
    )
    waiting = lost.metric_approximate_number_of_messages_visible(statistic="Maximum", period=PERIOD)
    age = queue.metric_approximate_age_of_oldest_message(statistic="Maximum", period=PERIOD)
    return [
        Alarm(
            "LostUploads",
            f"Uploads failed {ATTEMPTS} times and wait in the dead-letter queue",
            waiting,
            1,
        ),
        Alarm(
            "LateUploads",
            "Uploads wait for an hour: raise upload_concurrency, or look at the function's log",
            age,
            LATE_S,
        ),
    ]


def read_request(root: Path, path: str, bundle: Bundle) -> Path:
    """The file of on_upload. Raises SettingsError for one that is outside the repository, no
    request without images, or names a classifier that isn't deployed.
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
