"""Who may call the API, how often, and by which name."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from stacks.settings.errors import SettingsError
from stacks.settings.values import (
    Burst,
    Certificate,
    Count,
    Domain,
    HostedZone,
    Networks,
    Rate,
    VpcEndpoint,
    split_items,
)

DEFAULT_KEY = "default"


class KeyLimits(BaseModel):
    """A key's own limits; without a quota of its own it gets the one in the settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    throttle_rate: Rate | None = None
    throttle_burst: Burst | None = None
    quota: Count = None


def _keys(value: object) -> object:
    names = split_items(value)
    return dict.fromkeys(names, KeyLimits()) if isinstance(names, tuple | list) else names


class AccessSettings(BaseModel):
    """The API in front of the function."""

    authentication: Literal["api_key", "iam", "none"] = Field(
        default="api_key",
        description=(
            "`api_key`, `iam` (requests signed with AWS Signature Version 4 by this account) or"
            " `none`"
        ),
    )
    api_keys: Annotated[
        dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{0,31}$")], KeyLimits],
        Field(min_length=1, max_length=50),
        BeforeValidator(_keys),
    ] = Field(
        default=DEFAULT_KEY,
        validate_default=True,
        description=(
            "up to 50 names such as `default,search`, each a lower-case letter, then lower-case"
            " letters and digits; in `cdk.json` also with [limits of their own](deploy.md#api-keys)"
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
    domain_only: bool = Field(
        default=False,
        description="`true` or `false`: closes API Gateway's own address; needs `domain`",
    )
    throttle_rate: Rate = Field(
        default=10, description="requests a second, more than 0, at most 10,000"
    )
    throttle_burst: Burst = Field(default=20, description="requests at once, 1 to 5,000")
    quota: Count = Field(
        default=None,
        description=(
            "`none`, or the most calls a month with each API key; best effort, and no limit on"
            " costs"
        ),
    )
    cors_origin: Annotated[
        tuple[Literal["*"]]
        | Annotated[
            tuple[Annotated[str, Field(pattern=r"^https?://[a-z0-9.-]+(:\d+)?$")], ...],
            Field(min_length=1, max_length=20),
        ],
        BeforeValidator(split_items),
    ] = Field(
        default="*",
        validate_default=True,
        description=(
            "`*`, or up to 20 origins such as `https://example.org,https://app.example.org`, whose"
            " pages can read the answers"
        ),
    )
    playground: bool = Field(
        default=False, description="`true` or `false`: a page to try it at GET /, open to everyone"
    )

    @model_validator(mode="after")
    def _check_access(self) -> Self:
        together = {name: getattr(self, name) for name in ("domain", "certificate", "hosted_zone")}
        if any(together.values()) and (
            missing := [name for name, value in together.items() if not value]
        ):
            present = next(name for name, value in together.items() if value)
            raise SettingsError(
                f"{present}={together[present]} also needs {' and '.join(missing)}: set all three,"
                " or none."
            )
        if self.domain_only and not self.domain:
            raise SettingsError(
                "domain_only=true closes API Gateway's own address, and there would be no other."
                " Set domain, or leave domain_only out."
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
        if self.authentication != "api_key" and [*self.api_keys] != [DEFAULT_KEY]:
            raise SettingsError(
                f"api_keys={','.join(self.api_keys)} makes API keys, and"
                f" authentication={self.authentication} takes none. Set authentication=api_key, or"
                " leave api_keys out."
            )
        for name, limits in self.api_keys.items():
            if (limits.throttle_rate is None) != (limits.throttle_burst is None):
                raise SettingsError(
                    f"api_keys: {name} has one of throttle_rate and throttle_burst. Set both, or"
                    " neither."
                )
        if self.playground and self.authentication == "iam":
            raise SettingsError(
                "playground=true is a page for browsers, which can't sign requests as"
                " authentication=iam wants. Set one of the two."
            )
        return self

    def quota_of(self, key: str) -> int | None:
        """The most calls a month with the key of this name."""
        return self.api_keys[key].quota or self.quota
