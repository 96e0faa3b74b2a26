"""The settings of a deployment: cdk.json's context, or -c name=value, typed and checked. Every
default stands here.
"""

import difflib
import ipaddress
import logging
import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from classifier.contract.bucket_layout import MANIFESTS, MAP_RUNS, RESULTS

# What the function for runs and uploads writes in the bucket.
OWN_PREFIXES = (RESULTS, MANIFESTS, MAP_RUNS)
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
# How alike an unknown context key and a setting must be to count as a misspelling: memroy and
# memory are 0.83.
MISSPELT = 0.8


class SettingsError(Exception):
    """Settings that can't be deployed; the message names the setting, its value and what is
    allowed.
    """


def _none(value: object) -> object:
    return None if value in ("", "none") else value


def _days(value: object) -> object:
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _items(value: object) -> object:
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


def _names(value: object) -> object:
    return () if value in ("", "none") else value if value == "all" else _items(value)


def _cidr(text: str) -> str:
    # Raises ValueError for host bits as well: 10.0.0.1/8 is refused, since it allows more than it
    # seems to.
    return str(ipaddress.ip_network(text))


Count = Annotated[Annotated[int, Field(ge=1)] | None, BeforeValidator(_none)]
Email = Annotated[
    Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")] | None, BeforeValidator(_none)
]
Domain = Annotated[
    Annotated[
        str, Field(max_length=253, pattern=r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$")
    ]
    | None,
    BeforeValidator(_none),
]
Certificate = Annotated[
    Annotated[
        str, Field(pattern=r"^arn:aws[a-z-]*:acm:[a-z0-9-]+:\d{12}:certificate/[A-Za-z0-9-]+$")
    ]
    | None,
    BeforeValidator(_none),
]
HostedZone = Annotated[
    Annotated[str, Field(pattern=r"^Z[A-Z0-9]{1,31}$")] | None, BeforeValidator(_none)
]
VpcEndpoint = Annotated[
    Annotated[str, Field(pattern=r"^vpce-[0-9a-f]{8,17}$")] | None, BeforeValidator(_none)
]
# The policy of a REST API holds 8,192 bytes: about a hundred ranges of IPv6.
Networks = Annotated[
    Annotated[
        tuple[Annotated[str, AfterValidator(_cidr)], ...], Field(min_length=1, max_length=100)
    ]
    | None,
    BeforeValidator(_items),
    BeforeValidator(_none),
]
BUCKET = r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"
Bucket = Annotated[Annotated[str, Field(pattern=BUCKET)] | None, BeforeValidator(_none)]
# A key with characters that a list of events' patterns or a policy would take for its own is
# refused.
PREFIX = r"^[A-Za-z0-9!_.'()/=+,@:-][A-Za-z0-9!_.'()/=+,@: -]{0,511}$"
Prefix = Annotated[Annotated[str, Field(pattern=PREFIX)] | None, BeforeValidator(_none)]
File = Annotated[
    Annotated[str, Field(pattern=r"^[A-Za-z0-9_./ -]+\.json$")] | None, BeforeValidator(_none)
]
Key = Annotated[
    Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/[A-Za-z0-9-]+$")]
    | None,
    BeforeValidator(_none),
]


class Settings(BaseModel):
    """One deployment. A description says what is allowed and is part of every refusal."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        default="clip-classifier",
        pattern=r"^[A-Za-z][A-Za-z0-9-]{0,127}$",
        description=(
            "the stack's name, one per deployment: a letter, then letters, digits and hyphens, at"
            " most 128"
        ),
    )
    bundle: str = Field(description="the model: a folder in this repository that `make model` made")
    classifiers: Annotated[
        Literal["all"] | tuple[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")], ...],
        BeforeValidator(_names),
    ] = Field(
        default="all",
        description=(
            "`all` that are in the folder `classifiers`, `none`, or the names of some such as"
            " `moderation,drawings`"
        ),
    )
    base_image: str = Field(
        default="public.ecr.aws/lambda/python:3.13",
        pattern=r"^[a-z0-9][a-z0-9.:-]*(/[a-z0-9._-]+)+(:[\w.-]+)?(@sha256:[0-9a-f]{64})?$",
        description=(
            "AWS's image for Lambda that ours is built on; `make update-base` pins today's in"
            " `cdk.json`"
        ),
    )
    architecture: Literal["arm64", "x86_64"] = Field(
        default="arm64", description="`arm64` or `x86_64`"
    )
    memory: int = Field(
        default=3008,
        ge=1280,
        le=10240,
        description=(
            "1,280 to 10,240 MB, one vCPU per 1,769; the largest images take 700 on top of"
            " the model; new accounts are refused more than 3,008"
        ),
    )
    timeout: int = Field(
        default=28, ge=5, le=28, description="5 to 28 seconds; API Gateway gives up after 29"
    )
    authentication: Literal["api_key", "iam", "none"] = Field(
        default="api_key",
        description=(
            "`api_key`, `iam` (requests signed with AWS Signature Version 4 by this account) or"
            " `none`"
        ),
    )
    allowed_ips: Networks = Field(
        default=None,
        description=(
            "`none`, or up to 100 networks such as `203.0.113.0/24,2001:db8::/32`; all others get"
            " a 403"
        ),
    )
    vpc_endpoint: VpcEndpoint = Field(
        default=None,
        description=(
            "`none`, or the id of a VPC endpoint for `execute-api`: the API is private to it"
        ),
    )
    domain: Domain = Field(
        default=None,
        description=(
            "`none`, or a name such as `clip.example.org`; needs `certificate` and `hosted_zone`"
        ),
    )
    certificate: Certificate = Field(
        default=None,
        description=(
            "`none`, or the ARN of an ACM certificate for `domain`, in the region of the deployment"
        ),
    )
    hosted_zone: HostedZone = Field(
        default=None,
        description=(
            "`none`, or the id of the public Route 53 zone that gets the records of `domain`"
        ),
    )
    throttle_rate: float = Field(
        default=10, gt=0, le=10000, description="requests a second, more than 0, at most 10,000"
    )
    throttle_burst: int = Field(
        default=20, ge=1, le=5000, description="requests at once, 1 to 5,000"
    )
    quota: Count = Field(
        default=None,
        description=(
            "`none`, or the most calls a month with the API key; best effort, and no limit on costs"
        ),
    )
    reserved_concurrency: Count = Field(
        default=None,
        description=(
            "`none`, or 1 and more: the most environments at once, taken from the account's own"
        ),
    )
    provisioned_concurrency: Count = Field(
        default=None,
        description=(
            "`none`, or 1 and more environments kept warm, paid by the hour; at most"
            " `reserved_concurrency`"
        ),
    )
    cors_origin: str = Field(
        default="*",
        pattern=r"^(\*|https?://[A-Za-z0-9.-]+(:\d+)?)$",
        description="`*` or one origin such as `https://example.org`",
    )
    log_retention: Annotated[Literal[RETENTION], BeforeValidator(_days)] = Field(  # type: ignore[valid-type]
        default=30, description=f"days, one of {', '.join(map(str, RETENTION))}"
    )
    alarm_email: Email = Field(
        default=None,
        description="`none`, or an address that confirms by mail and then gets the alarms",
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
    playground: bool = Field(
        default=False, description="`true` or `false`: a page to try it at GET /, open to everyone"
    )
    heic: bool = Field(
        default=False,
        description=(
            "`true` or `false`: take HEIC, iPhones' format; see [what it brings](deploy.md#heic)"
        ),
    )
    bulk_bucket: Bucket = Field(
        default=None,
        description=(
            "`none`, `create`, or the name of a bucket in the region of the deployment: runs over"
            " its images ([bulk.md](bulk.md)), and `image_s3` in the API"
        ),
    )
    bulk_prefix: Prefix = Field(
        default="images/",
        description=(
            "what may be read of `bulk_bucket`: a prefix of keys, or `none` for all of them"
        ),
    )
    bulk_key: Key = Field(
        default=None,
        description=(
            "`none`, or the ARN of the KMS key that encrypts `bulk_bucket`, if it isn't S3's own"
        ),
    )
    bulk_memory: int = Field(
        default=1769,
        ge=1280,
        le=10240,
        description="1,280 to 10,240 MB for the function of runs and uploads; 1,769 are one vCPU",
    )
    results_days: Count = Field(
        default=None,
        description=(
            "`none`, or the days after which results, manifests and map runs are deleted; needs"
            " `bulk_bucket=create`"
        ),
    )
    on_upload: File = Field(
        default=None,
        description=(
            "`none`, or a JSON file of this repository with a request's labels, categories or"
            " classifier, and options: each new image is classified so"
        ),
    )
    upload_prefix: Prefix = Field(
        default=None,
        description=(
            "`none` for `bulk_prefix`, or a prefix under it: new images below it are classified"
        ),
    )
    upload_tags: bool = Field(
        default=False, description="`true` or `false`: new images get tags with their result"
    )
    upload_concurrency: int = Field(
        default=2,
        ge=2,
        le=1000,
        description="2 to 1,000: the most environments that classify uploads at once",
    )
    synth_only: bool = Field(
        default=False,
        description="`true` or `false`: takes the demo bundle too, for a template to look at",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (
            self.reserved_concurrency
            and (self.provisioned_concurrency or 0) > self.reserved_concurrency
        ):
            raise SettingsError(
                f"provisioned_concurrency={self.provisioned_concurrency} is more than"
                f" reserved_concurrency={self.reserved_concurrency}; at most that many environments"
                " can be kept warm."
            )
        together = {name: getattr(self, name) for name in ("domain", "certificate", "hosted_zone")}
        if any(together.values()) and (
            missing := [name for name, value in together.items() if not value]
        ):
            present = next(name for name, value in together.items() if value)
            raise SettingsError(
                f"{present}={together[present]} also needs {' and '.join(missing)}: set all three,"
                " or none."
            )
        if self.vpc_endpoint and self.domain:
            raise SettingsError(
                f"vpc_endpoint={self.vpc_endpoint} makes the API private, and domain={self.domain}"
                " is public. Set one of the two."
            )
        if self.vpc_endpoint and self.allowed_ips:
            raise SettingsError(
                f"vpc_endpoint={self.vpc_endpoint} makes the API private: callers then have private"
                " addresses, which allowed_ips does not see. Set one of the two; the endpoint's"
                " own policy and security groups can narrow it further."
            )
        if self.quota and self.authentication != "api_key":
            raise SettingsError(
                f"quota={self.quota} counts the calls of an API key, and"
                f" authentication={self.authentication} has none. Set authentication=api_key, or"
                " leave quota out."
            )
        if self.playground and self.authentication == "iam":
            raise SettingsError(
                "playground=true is a page for browsers, which can't sign requests as"
                " authentication=iam wants. Set one of the two."
            )
        self._check_bulk()
        return self

    def _check_bulk(self) -> None:
        if not self.bulk_bucket:
            if self.on_upload:
                raise SettingsError(
                    f"on_upload={self.on_upload} needs bulk_bucket: the bucket that images are"
                    " uploaded to."
                )
            return
        if self.results_days and self.bulk_bucket != "create":
            raise SettingsError(
                f"results_days={self.results_days} would replace the rules of"
                f" bulk_bucket={self.bulk_bucket}, which this stack doesn't own. Set the expiry"
                " there, or bulk_bucket=create."
            )
        if self.bulk_key and self.bulk_bucket == "create":
            raise SettingsError(
                f"bulk_key={self.bulk_key} is for a bucket that exists; bulk_bucket=create makes"
                " one with S3's own key. Remove it."
            )
        prefix = self.bulk_prefix or ""
        watched = self.watched_prefix
        if not watched.startswith(prefix):
            raise SettingsError(
                f"upload_prefix={watched} is not under bulk_prefix={prefix}, which is all that may"
                " be read."
            )
        # Results under the watched prefix would be uploads themselves, for ever.
        if self.on_upload and (
            own := next(
                (own for own in OWN_PREFIXES if own.startswith(watched) or watched.startswith(own)),
                None,
            )
        ):
            raise SettingsError(
                f"upload_prefix={watched or 'none'} watches {own}, where results are written: each"
                " result would be an upload again. Set upload_prefix to the images' own prefix."
            )

    @property
    def watched_prefix(self) -> str:
        """The prefix whose uploads are classified."""
        return self.upload_prefix or self.bulk_prefix or ""

    def check_region(self, region: str) -> None:
        """A regional API takes certificates of its own region alone. Raises SettingsError."""
        if self.certificate and (other := self.certificate.split(":")[3]) != region:
            raise SettingsError(
                f"certificate={self.certificate} is in {other}, and the deployment goes to"
                f" {region}. Request a certificate in {region}, or deploy with AWS_REGION={other}."
            )

    @classmethod
    def read(cls, context: Mapping[str, object]) -> Self:
        """From the app's whole context, in which null means the default. Raises SettingsError.

        The CDK's own keys stay as they are. Other keys may come from ~/.cdk.json or `cdk
        acknowledge`: they get a warning, unless they look like a misspelt setting.
        """
        own: dict[str, object] = {}
        for key, value in context.items():
            if key in cls.model_fields:
                own |= {} if value is None else {key: value}
            elif not re.search("[@:/]", key) and key not in (
                "cli-telemetry",
                "acknowledged-issue-numbers",
            ):
                if near := difflib.get_close_matches(key.lower(), cls.model_fields, 1, MISSPELT):
                    raise SettingsError(f"{key}={value} is no setting. Did you mean {near[0]}?")
                logging.getLogger(__name__).warning(
                    "%s in the context is no setting of this app; ignored.", key
                )
        try:
            return cls.model_validate(own)
        except ValidationError as err:
            wrong = err.errors(include_url=False)[0]
            key = str(wrong["loc"][0])
            if wrong["type"] == "missing":
                raise SettingsError(
                    f"{key} is not set. Allowed: {cls.model_fields[key].description}."
                ) from err
            value = own[key]
            raise SettingsError(
                f"{key}={value} is not allowed. Allowed: {cls.model_fields[key].description}."
            ) from err
