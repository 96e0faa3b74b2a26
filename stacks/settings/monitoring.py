"""Logs, alarms and traces."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, Field

from stacks.settings.values import Email, Key, Topic

# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
RETENTION = (
    1,
    3,
    5,
    7,
    14,
    30,
    60,
    90,
    120,
    150,
    180,
    365,
    400,
    545,
    731,
    1096,
    1827,
    2192,
    2557,
    2922,
    3288,
    3653,
)


def _days(value: object) -> object:
    return int(value) if isinstance(value, str) and value.isdecimal() else value


class MonitoringSettings(BaseModel):
    """What is recorded, and who is told."""

    log_retention: Annotated[Literal[RETENTION], BeforeValidator(_days)] = Field(  # type: ignore[valid-type]
        default=30, description=f"days, one of {', '.join(map(str, RETENTION))}"
    )
    log_key: Key = Field(
        default=None,
        description=(
            "`none`, or the ARN of the KMS key that encrypts the logs; its policy has to"
            " [allow it](deploy.md#monitoring)"
        ),
    )
    alarm_email: Email = Field(
        default=None,
        description="`none`, or an address that confirms by mail and then gets the alarms",
    )
    alarm_topic: Topic = Field(
        default=None,
        description=(
            "`none`, or the ARN of an SNS topic in the region of the deployment, which gets the"
            " alarms too"
        ),
    )
    # A usual answer takes 50 ms. With few calls the 99th percentile is the slowest one, which may
    # be a cold start of a few seconds.
    slow_ms: int = Field(
        default=5000,
        ge=1,
        le=29000,
        description=(
            "1 to 29,000: the alarm for slow answers goes off when the 99th percentile is at least"
            " this for 15 minutes; the default lies above a cold start, a busy endpoint can have"
            " 1,000"
        ),
    )
    tracing: bool = Field(
        default=False,
        description=(
            "`true` or `false`: X-Ray traces of the API, the functions and runs, which cost up to"
            " $4.50 a million calls"
        ),
    )
