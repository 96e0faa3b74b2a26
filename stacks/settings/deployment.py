"""The settings of a deployment: cdk.json's context, or -c name=value, typed and checked. Every
default stands in this folder.
"""

import difflib
import logging
import re
from collections.abc import Mapping
from typing import Self

from pydantic import ConfigDict, Field, ValidationError

from stacks.settings.access import AccessSettings
from stacks.settings.bulk import BulkSettings
from stacks.settings.errors import SettingsError
from stacks.settings.function import FunctionSettings
from stacks.settings.monitoring import MonitoringSettings

# Each is an ARN of the deployment's own region: AWS's services take none of another.
REGIONAL = ("certificate", "alarm_topic", "log_key", "bulk_key")
# How alike an unknown context key and a setting must be to count as a misspelling: memroy and
# memory are 0.83.
MISSPELT = 0.8


class Settings(BulkSettings, MonitoringSettings, AccessSettings, FunctionSettings):
    """One deployment. A description says what is allowed and is part of every refusal."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    synth_only: bool = Field(
        default=False,
        description="`true` or `false`: takes the demo bundle too, for a template to look at",
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

    def check_region(self, region: str) -> None:
        """Raises SettingsError for a setting that names something of another region."""
        for name in REGIONAL:
            arn = getattr(self, name)
            if arn and (other := arn.split(":")[3]) != region:
                raise SettingsError(
                    f"{name}={arn} is in {other}, and the deployment goes to {region}. Name one in"
                    f" {region}, or deploy with AWS_REGION={other}."
                )
