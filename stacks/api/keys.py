"""API keys, each in a usage plan of its own."""

from aws_cdk import aws_apigateway as apigateway

from stacks.settings.access import DEFAULT_KEY
from stacks.settings.deployment import Settings


def add_keys(rest: apigateway.RestApi, settings: Settings) -> dict[str, apigateway.IApiKey]:
    """The keys of the settings, by name. API Gateway counts the throttle and the quota of a plan
    for each of its keys.
    """
    keys: dict[str, apigateway.IApiKey] = {}
    for name, limits in settings.api_keys.items():
        suffix = "" if name == DEFAULT_KEY else name.capitalize()
        quota = settings.quota_of(name)
        plan = rest.add_usage_plan(
            f"Plan{suffix}",
            api_stages=[apigateway.UsagePlanPerApiStage(stage=rest.deployment_stage)],
            throttle=(
                apigateway.ThrottleSettings(
                    rate_limit=limits.throttle_rate, burst_limit=limits.throttle_burst
                )
                if limits.throttle_rate
                else None
            ),
            quota=(
                apigateway.QuotaSettings(limit=quota, period=apigateway.Period.MONTH)
                if quota
                else None
            ),
        )
        keys[name] = rest.add_api_key(f"Key{suffix}")
        plan.add_api_key(keys[name])
    return keys
