"""Runs over the bucket's images: a state machine of Step Functions, its role and its log."""

import json
from typing import cast

from aws_cdk import Arn, ArnComponents, ArnFormat, Aws, Fn, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_stepfunctions as stepfunctions
from constructs import Construct

from classifier.contract.bucket_layout import MANIFESTS, MAP_RUNS
from stacks.acknowledgements import acknowledge
from stacks.bulk.bucket import ImageBucket
from stacks.bulk.state_machine import definition
from stacks.function import log_group
from stacks.settings.deployment import Settings


def add_runs(
    scope: Construct, settings: Settings, bucket: ImageBucket, function: lambda_.IFunction
) -> stepfunctions.StateMachine:
    """The state machine, with a role that may call the function and write a run's results."""
    role = iam.Role(scope, "RunRole", assumed_by=iam.ServicePrincipal("states.amazonaws.com"))
    role.add_to_policy(
        iam.PolicyStatement(actions=["lambda:InvokeFunction"], resources=[function.function_arn])
    )
    bucket.allow_list(role, [f"{bucket.images}*"])
    bucket.allow(role, ["s3:GetObject"], f"{MANIFESTS}*", f"{MAP_RUNS}*")
    bucket.allow(
        role,
        ["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"],
        f"{MAP_RUNS}*",
    )
    bucket.use_key(role, "kms:GenerateDataKey")
    machine = stepfunctions.StateMachine(
        scope,
        "Runs",
        definition_body=stepfunctions.DefinitionBody.from_string(
            json.dumps(definition(), indent=1)
        ),
        definition_substitutions={
            "Bucket": bucket.name,
            "Function": function.function_arn,
            "Invoke": f"arn:{Aws.PARTITION}:states:::lambda:invoke",
            "Partition": Aws.PARTITION,
        },
        role=role,
        # Without execution data: the log would record labels and keys.
        logs=stepfunctions.LogOptions(
            destination=log_group(scope, "RunLog", settings, _delivered_log()),
            level=stepfunctions.LogLevel.ALL,
            include_execution_data=False,
        ),
        tracing_enabled=settings.tracing,
    )
    # https://docs.aws.amazon.com/step-functions/latest/dg/iam-policies-eg-dist-map.html
    execution = Arn.format(
        ArnComponents(
            service="states",
            resource="execution",
            resource_name=f"{machine.state_machine_name}/*",
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        ),
        Stack.of(scope),
    )
    name = Stack.of(scope).get_logical_id(
        cast(stepfunctions.CfnStateMachine, machine.node.default_child)
    )
    executions = (
        f"arn:<AWS::Partition>:states:<AWS::Region>:<AWS::AccountId>:execution:<{name}.Name>/*"
    )
    reason = "The machine's own executions, whose names Step Functions gives."
    acknowledge(scope, {f"AwsSolutions-IAM5[Resource::{executions}]": reason})
    iam.Policy(
        scope,
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


def _delivered_log() -> str:
    """A name that doesn't count against the account's one policy for delivered logs, and that no
    other deployment has: https://docs.aws.amazon.com/step-functions/latest/dg/bp-cwl.html
    """
    return f"/aws/vendedlogs/states/{Aws.STACK_NAME}-{Fn.select(2, Fn.split('/', Aws.STACK_ID))}"
