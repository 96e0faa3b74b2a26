"""A dashboard and alarms, made from AWS's metrics and the handler's log line per request."""

from collections.abc import Sequence
from typing import NamedTuple

from aws_cdk import Aws, Duration
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from stacks.acknowledgements import acknowledge
from stacks.settings.deployment import Settings

LINE = cloudwatch.LogQueryVisualizationType.LINE
TABLE = cloudwatch.LogQueryVisualizationType.TABLE
STAGES = (
    "avg(decode_ms) as decode, avg(image_ms) as image, avg(text_ms) as text, pct(total_ms, 99) as"
    " total_p99"
)
# Title, kind of widget, query over the log lines of requests.
QUERIES = (
    ("Milliseconds by stage", LINE, [f"stats {STAGES} by bin(5m)"]),
    (
        "Cold starts",
        LINE,
        ['stats sum(strcontains(start, "cold")) as cold, count(*) as requests by bin(5m)'],
    ),
    (
        "Labels from the cache (%)",
        LINE,
        ["stats 100 * sum(cache_hits) / sum(labels) as percent by bin(5m)"],
    ),
    (
        "Error responses",
        TABLE,
        [
            "filter status >= 400",
            "stats count(*) as requests by status, code",
            "sort requests desc",
        ],
    ),
)
PERIOD = Duration.minutes(5)


class Alarm(NamedTuple):
    """`threshold`: it goes off when the metric is at least this."""

    name: str
    description: str
    metric: cloudwatch.Metric
    threshold: float


class Monitoring(Construct):
    """`dashboard`, `alarms`, and an SNS topic if the settings name an address.

    `others`: alarms of the stack's other parts.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        settings: Settings,
        stage: apigateway.Stage,
        function: lambda_.IFunction,
        log_group: logs.ILogGroup,
        others: Sequence[Alarm] = (),
    ) -> None:
        super().__init__(scope, id)
        errors = stage.metric_server_error(statistic="Sum", period=PERIOD)
        throttles = function.metric_throttles(statistic="Sum", period=PERIOD)
        self.alarms = [
            # One error can be the first call after weeks, which Lambda rejects while it prepares
            # the image again.
            self._alarm(
                "ServerErrors",
                "5XX answers in two of three periods of five minutes",
                errors,
                1,
                periods=3,
                of=2,
            ),
            self._alarm(
                "Throttles",
                "Calls found no free environment: raise the concurrency or lower the throttle",
                throttles,
                1,
            ),
            # With few calls, the slowest of five minutes can be a cold start; three times in a row
            # it isn't.
            self._alarm(
                "Slow",
                f"The slowest percent of answers took {settings.slow_ms} ms or more for 15 minutes",
                stage.metric_latency(statistic="p99", period=PERIOD),
                settings.slow_ms,
                periods=3,
            ),
            *(self._alarm(*other) for other in others),
        ]
        topics: list[sns.ITopic] = []
        if settings.alarm_topic:
            topics.append(sns.Topic.from_topic_arn(self, "ExistingTopic", settings.alarm_topic))
        if settings.alarm_email:
            topic = sns.Topic(self, "Topic", enforce_ssl=True)
            topic.add_subscription(subscriptions.EmailSubscription(settings.alarm_email))
            # The policy that requires TLS replaces the default one, which lets alarms publish.
            account = {"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}}
            topic.grant_publish(
                iam.ServicePrincipal("cloudwatch.amazonaws.com", conditions=account)
            )
            mail = "An alarm that can't be mailed needs no queue; the dashboard shows it too."
            acknowledge(topic, {"Serverless-SNSRedrivePolicy": mail})
            topics.append(topic)
        for alarm in self.alarms:
            alarm.add_alarm_action(*map(actions.SnsAction, topics))
        self.dashboard = cloudwatch.Dashboard(self, "Dashboard", default_interval=Duration.days(1))
        self.dashboard.add_widgets(
            cloudwatch.AlarmStatusWidget(alarms=self.alarms, width=24, height=3)
        )
        self.dashboard.add_widgets(
            cloudwatch.GraphWidget(
                title="Requests",
                left=[
                    stage.metric_count(),
                    stage.metric_client_error(label="4XX"),
                    stage.metric_server_error(label="5XX"),
                ],
                statistic="Sum",
                width=12,
            ),
            cloudwatch.GraphWidget(
                title="Latency (ms)",
                left=[stage.metric_latency(statistic=p, label=p) for p in ("p50", "p90", "p99")],
                width=12,
            ),
        )
        self.dashboard.add_widgets(
            cloudwatch.GraphWidget(
                title="Environments in use",
                left=[function.metric("ConcurrentExecutions", statistic="Maximum"), throttles],
                width=12,
            ),
            cloudwatch.GraphWidget(
                title="Duration of the function (ms)",
                left=[
                    function.metric_duration(statistic=p, label=p) for p in ("p50", "p90", "p99")
                ],
                width=12,
            ),
        )
        self.dashboard.add_widgets(
            *(
                cloudwatch.LogQueryWidget(
                    title=title,
                    view=view,
                    log_group_names=[log_group.log_group_name],
                    query_lines=['filter message = "request"', *lines],
                    width=12,
                )
                for title, view, lines in QUERIES
            )
        )

    def _alarm(
        self,
        id: str,
        description: str,
        metric: cloudwatch.Metric,
        threshold: float,
        *,
        periods: int = 1,
        of: int | None = None,
    ) -> cloudwatch.Alarm:
        """Goes off when `of` of the last `periods` reach the threshold; no traffic is fine."""
        return cloudwatch.Alarm(
            self,
            id,
            alarm_description=description,
            metric=metric,
            threshold=threshold,
            evaluation_periods=periods,
            datapoints_to_alarm=of or periods,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
