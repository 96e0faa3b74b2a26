"""The bucket of runs and uploads, and who may do what in it."""

from typing import cast

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from constructs import Construct, IConstruct

from stacks.acknowledgements import acknowledge
from stacks.settings.bulk import OWN_PREFIXES
from stacks.settings.deployment import Settings

BELOW = "Objects below one prefix of one bucket."


class ImageBucket:
    """`images`: the prefix that may be read. Its constructs belong to `scope`."""

    def __init__(self, scope: Construct, settings: Settings) -> None:
        self.images = settings.bulk_prefix or ""
        self._scope = scope
        self._settings = settings
        self._bucket = (
            self._make_bucket()
            if settings.bulk_bucket == "create"
            else s3.Bucket.from_bucket_name(scope, "Bucket", str(settings.bulk_bucket))
        )
        self.name = self._bucket.bucket_name

    def let_read_images(self, role: iam.IRole) -> None:
        """Without the right to list, S3 answers 403 for a missing object."""
        self.allow(role, ["s3:GetObject", "s3:GetObjectVersion"], f"{self.images}*")
        self.allow_list(role, [f"{self.images}*"])
        self.use_key(role)

    def open_to(self, function: lambda_.Function) -> None:
        """Lets the API's function read the images too, for `image_s3`."""
        function.add_environment("BULK_BUCKET", self.name)
        function.add_environment("BULK_PREFIX", self.images)
        role = cast(iam.Role, function.role)
        self.let_read_images(role)
        self._acknowledge(role, f"{self.images}*")

    def allow(self, role: iam.IRole, actions: list[str], *keys: str) -> None:
        resources = [self._bucket.arn_for_objects(key) for key in keys]
        self._acknowledge(self._scope, *keys)
        role.add_to_principal_policy(iam.PolicyStatement(actions=actions, resources=resources))

    def allow_list(self, role: iam.IRole, prefixes: list[str]) -> None:
        role.add_to_principal_policy(
            iam.PolicyStatement(
                actions=["s3:ListBucket"],
                resources=[self._bucket.bucket_arn],
                conditions={"StringLike": {"s3:prefix": prefixes}},
            )
        )

    def use_key(self, role: iam.IRole, *more: str) -> None:
        """The key's own policy must allow the role too; docs/bulk.md has the statement."""
        if self._settings.bulk_key:
            statement = iam.PolicyStatement(
                actions=["kms:Decrypt", *more], resources=[self._settings.bulk_key]
            )
            role.add_to_principal_policy(statement)

    def _acknowledge(self, construct: IConstruct, *keys: str) -> None:
        """As cdk-nag writes the bucket's ARN."""
        arn = f"arn:<AWS::Partition>:s3:::{self._settings.bulk_bucket}"
        if self._settings.bulk_bucket == "create":
            bucket = cast(s3.CfnBucket, self._bucket.node.default_child)
            arn = f"<{Stack.of(self._scope).get_logical_id(bucket)}.Arn>"
        rules = [f"AwsSolutions-IAM5[Resource::{arn}/{key}]" for key in keys]
        acknowledge(construct, dict.fromkeys(rules, BELOW))

    def _make_bucket(self) -> s3.IBucket:
        """Kept when the stack is deleted; nothing in it expires unless the settings say so."""
        days = self._settings.results_days
        bucket = s3.Bucket(
            self._scope,
            "Bucket",
            encryption=s3.BucketEncryption.S3_MANAGED,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            enforce_ssl=True,
            removal_policy=RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
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
            # The construct's own option would add a function that CloudFormation calls.
            notifications = s3.CfnBucket.NotificationConfigurationProperty(
                event_bridge_configuration=s3.CfnBucket.EventBridgeConfigurationProperty(
                    event_bridge_enabled=True
                )
            )
            cast(s3.CfnBucket, bucket.node.default_child).notification_configuration = notifications
        return bucket
