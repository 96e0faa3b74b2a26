import json
import logging
import re
from base64 import b64encode

import pytest

from classifier.api.handler import Handler
from stacks.monitoring import QUERIES
from tests.support.requests import ROOT, Context
from tests.support.stacks import COMBINATIONS, EVERYTHING, KEY, TOPIC
from tests.support.synthesis import Synth


def test_no_log_of_the_gateway_can_hold_a_label(synth: Synth) -> None:
    stage = synth(**EVERYTHING).one("ApiGateway::Stage")
    logged = json.loads(stage["AccessLogSetting"]["Format"])
    assert "requestId" in logged
    # Neither the path as sent nor query, header or body; the resource's path is the stack's own.
    own = {"requestId", "requestTime", "httpMethod", "resourcePath", "status", "error.responseType"}
    own |= {"responseLength", "responseLatency", "integrationLatency", "integrationStatus"}
    caller = {"identity.sourceIp", "identity.apiKeyId"}
    assert set(logged.values()) <= {f"$context.{name}" for name in own | caller}
    (everywhere,) = [method for method in stage["MethodSettings"] if method["ResourcePath"] == "/*"]
    assert (everywhere["LoggingLevel"], everywhere["DataTraceEnabled"]) == ("OFF", False)
    for method in stage["MethodSettings"]:
        assert method.get("LoggingLevel", "OFF") == "OFF"
        assert not method.get("DataTraceEnabled")


@pytest.mark.parametrize("days", [30, 365])
def test_both_logs_are_kept_as_long_as_asked_and_go_with_the_stack(synth: Synth, days: int) -> None:
    made = synth(log_retention=str(days))
    groups = [
        resource
        for resource in made.template["Resources"].values()
        if resource["Type"] == "AWS::Logs::LogGroup"
    ]
    assert [
        (group["Properties"]["RetentionInDays"], group["DeletionPolicy"]) for group in groups
    ] == [(days, "Delete")] * 2


def test_a_key_encrypts_every_log(synth: Synth) -> None:
    groups = synth(**COMBINATIONS["log_key"]).all("Logs::LogGroup")
    assert [group["KmsKeyId"] for group in groups] == [KEY] * 4
    assert not any("KmsKeyId" in group for group in synth().all("Logs::LogGroup"))


def test_alarms_are_on_errors_throttles_and_lasting_slowness(synth: Synth) -> None:
    alarms = {alarm["MetricName"]: alarm for alarm in synth().all("CloudWatch::Alarm")}
    assert {
        name: (one["DatapointsToAlarm"], one["EvaluationPeriods"]) for name, one in alarms.items()
    } == {
        "5XXError": (2, 3),
        "Throttles": (1, 1),
        "Latency": (3, 3),
    }
    assert alarms["Latency"]["ExtendedStatistic"] == "p99"
    # Above a cold start of a few seconds, and a hundred times a usual answer.
    assert alarms["Latency"]["Threshold"] == 5000
    (slow,) = [
        alarm
        for alarm in synth(slow_ms="1000").all("CloudWatch::Alarm")
        if alarm["MetricName"] == "Latency"
    ]
    assert (slow["Threshold"], "1000 ms" in slow["AlarmDescription"]) == (1000, True)
    assert {alarm["TreatMissingData"] for alarm in alarms.values()} == {"notBreaching"}
    assert not any("AlarmActions" in alarm for alarm in alarms.values())
    assert not synth().all("SNS::Topic")


def test_an_address_hears_of_every_alarm(synth: Synth) -> None:
    made = synth(alarm_email="ops@example.org")
    subscription = made.one("SNS::Subscription")
    assert (subscription["Protocol"], subscription["Endpoint"]) == ("email", "ops@example.org")
    assert [alarm["AlarmActions"] for alarm in made.all("CloudWatch::Alarm")] == [
        [subscription["TopicArn"]]
    ] * 3
    statements = made.one("SNS::TopicPolicy")["PolicyDocument"]["Statement"]
    (publish,) = [statement for statement in statements if statement["Effect"] == "Allow"]
    assert (publish["Action"], publish["Principal"]) == (
        "sns:Publish",
        {"Service": "cloudwatch.amazonaws.com"},
    )
    assert publish["Condition"] == {
        "StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}
    }


def test_a_topic_that_exists_hears_of_every_alarm_too(synth: Synth) -> None:
    alone = synth(alarm_topic=TOPIC)
    assert [alarm["AlarmActions"] for alarm in alone.all("CloudWatch::Alarm")] == [[TOPIC]] * 3
    assert not alone.all("SNS::Topic") + alone.all("SNS::TopicPolicy")
    both = synth(**COMBINATIONS["alarm_topic"])
    mailed = both.one("SNS::Subscription")["TopicArn"]
    assert [alarm["AlarmActions"] for alarm in both.all("CloudWatch::Alarm")] == [
        [TOPIC, mailed]
    ] * 3


def test_the_dashboard_asks_for_what_the_handler_logs(
    handler: Handler, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    image = b64encode((ROOT / "examples" / "images" / "dog.jpg").read_bytes()).decode()
    for body in (json.dumps({"image_data": image, "labels": ["a dog", "a cat"]}), "{"):
        handler({"httpMethod": "POST", "resource": "/", "headers": {}, "body": body}, Context())
    lines = [record for record in caplog.records if record.getMessage() == "request"]
    logged = {key for record in lines for key in vars(record)}
    for _, _, queries in QUERIES:
        words = set(
            re.findall(
                r"\b[a-z]+_ms\b|\b(?:start|status|code|cache_hits|labels)\b", " ".join(queries)
            )
        )
        assert words, queries
        assert words <= logged
    assert {vars(record)["start"] for record in lines} == {"cold", "warm"}


def test_the_dashboard_shows_every_query_on_the_function_s_log(synth: Synth) -> None:
    body = "".join(
        part if isinstance(part, str) else "…"
        for part in synth().one("CloudWatch::Dashboard")["DashboardBody"]["Fn::Join"][1]
    )
    widgets = json.loads(body)["widgets"]
    queries = [widget["properties"]["query"] for widget in widgets if widget["type"] == "log"]
    assert queries == [
        "SOURCE '…' | " + "\n| ".join(['filter message = "request"', *lines])
        for _, _, lines in QUERIES
    ]
