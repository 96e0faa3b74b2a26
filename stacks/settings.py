"""The settings: cdk.json's context, or -c name=value, typed and checked."""

import difflib
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
RETENTION = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)


class SettingsError(Exception):
    """A deployment that can't be; the message names the setting, its value and what is allowed."""


def _none(value: object) -> object:
    return None if value in ("", "none") else value


def _days(value: object) -> object:
    return int(value) if isinstance(value, str) and value.isdecimal() else value


Concurrency = Annotated[Annotated[int, Field(ge=1)] | None, BeforeValidator(_none)]
Address = Annotated[Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")] | None, BeforeValidator(_none)]


class Settings(BaseModel):
    """A deployment. A description says what is allowed and is part of every refusal."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        default="clip-classifier",
        pattern=r"^[A-Za-z][A-Za-z0-9-]{0,127}$",
        description="the stack's name, one a deployment: a letter, then letters, digits and hyphens, at most 128",
    )
    bundle: str = Field(
        default="models/ViT-B-32-quickgelu-openai", description="the model: a folder in this repository that `make model` made"
    )
    architecture: Literal["arm64", "x86_64"] = Field(default="arm64", description="`arm64` or `x86_64`")
    memory: int = Field(
        default=3008,
        ge=1280,
        le=10240,
        description="1,280 to 10,240 MB, one vCPU per 1,769; the largest pictures take 700 beside the model; "
        "new accounts are refused more than 3,008",
    )
    timeout: int = Field(default=28, ge=5, le=28, description="5 to 28 seconds; API Gateway gives up after 29")
    authentication: Literal["api_key", "none"] = Field(default="api_key", description="`api_key` or `none`")
    throttle_rate: float = Field(default=10, gt=0, le=10000, description="requests a second, more than 0, at most 10,000")
    throttle_burst: int = Field(default=20, ge=1, le=5000, description="requests at once, 1 to 5,000")
    reserved_concurrency: Concurrency = Field(
        default=None, description="`none`, or 1 and more: the most environments at once, taken from the account's own"
    )
    provisioned_concurrency: Concurrency = Field(
        default=None, description="`none`, or 1 and more environments kept warm, paid by the hour; at most `reserved_concurrency`"
    )
    cors_origin: str = Field(
        default="*",
        pattern=r"^(\*|https?://[A-Za-z0-9.-]+(:\d+)?)$",
        description="`*` or one origin such as `https://example.org`",
    )
    log_retention: Annotated[Literal[RETENTION], BeforeValidator(_days)] = Field(  # type: ignore[valid-type]
        default=30, description=f"days, one of {', '.join(map(str, RETENTION))}"
    )
    alarm_email: Address = Field(default=None, description="`none`, or an address that confirms by mail and then gets the alarms")
    playground: bool = Field(default=False, description="`true` or `false`: a page to try it at GET /, open to everyone")
    synth_only: bool = Field(default=False, description="`true` or `false`: takes the demo bundle too, for a template to look at")

    @model_validator(mode="after")
    def _warm_within_reserved(self) -> Self:
        if self.reserved_concurrency and (self.provisioned_concurrency or 0) > self.reserved_concurrency:
            raise SettingsError(
                f"provisioned_concurrency={self.provisioned_concurrency} is more than "
                f"reserved_concurrency={self.reserved_concurrency}; at most that many environments can be kept warm."
            )
        return self

    @classmethod
    def read(cls, context: Mapping[str, object]) -> Self:
        """From the app's whole context: CDK's own keys are left alone, null means the default. Raises SettingsError."""
        theirs = {key for key in context if set(key) & set("@:/")} | {"cli-telemetry"}
        own = {key: value for key, value in context.items() if value is not None and key not in theirs}
        try:
            return cls.model_validate(own)
        except ValidationError as err:
            wrong = err.errors(include_url=False)[0]
            raise SettingsError(_explained(str(wrong["loc"][0]), wrong["type"], wrong["input"])) from err


def _explained(key: str, kind: str, value: object) -> str:
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(key, Settings.model_fields, 1)
        return f"{key}={value} is no setting. " + (
            f"Did you mean {near[0]}?" if near else f"There are: {', '.join(Settings.model_fields)}."
        )
    return f"{key}={value} is not allowed. Allowed: {Settings.model_fields[key].description}."
