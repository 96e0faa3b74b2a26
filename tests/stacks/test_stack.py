import json
import logging
import os
import re
import shutil
import subprocess
import sys
import textwrap
from base64 import b64encode
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import cfnlint.api
import pytest
from cfnlint.config import ManualArgs

from classifier.api.handler import Handler
from classifier.contract.bundle import FILES, MANIFEST
from classifier.contract.schema import BINARY_TYPES
from stacks.bundle import Bundle
from stacks.classifier_stack import ClassifierStack
from stacks.function import Function
from stacks.gateway_responses import GATEWAY_RESPONSES
from stacks.monitoring import QUERIES
from stacks.settings import Settings
from tests.support.requests import DEMO, ROOT, Context
from tests.support.synthesis import BULK, UPLOADS, Synth, Synthesized, image_source
from tools.local import gateway

DOMAIN = {
    "domain": "clip.example.org",
    "certificate": (
        "arn:aws:acm:eu-central-1:123456789012:certificate/0a1b2c3d-0000-4444-8888-aabbccddeeff"
    ),
    "hosted_zone": "Z0123456789ABC",
}
NETWORKS = "203.0.113.0/24,2001:db8::/32"
ENDPOINT = "vpce-0123456789abcdef0"
BASE = "public.ecr.aws/lambda/python:3.13@sha256:" + "0123456789abcdef" * 4
EVERYTHING = {
    "playground": "true",
    "alarm_email": "ops@example.org",
    "reserved_concurrency": "4",
    "provisioned_concurrency": "2",
    "cors_origin": "https://example.org",
    "authentication": "none",
    "architecture": "x86_64",
}
# Each setting alone, and the pairs that touch the same resources.
COMBINATIONS: dict[str, dict[str, str]] = {
    "default": {},
    "everything": EVERYTHING,
    "domain": DOMAIN,
    "iam": {"authentication": "iam"},
    "allowed_ips": {"allowed_ips": NETWORKS},
    "vpc_endpoint": {"vpc_endpoint": ENDPOINT},
    "quota": {"quota": "100000"},
    "slow_ms": {"slow_ms": "1000"},
    "tracing": {**BULK, "tracing": "true"},
    "base_image": {"base_image": BASE},
    "iam with allowed_ips": {"authentication": "iam", "allowed_ips": NETWORKS},
    "iam with vpc_endpoint": {"authentication": "iam", "vpc_endpoint": ENDPOINT},
    "iam with domain": {"authentication": "iam", **DOMAIN},
    "allowed_ips with domain": {"allowed_ips": NETWORKS, **DOMAIN},
    "allowed_ips with playground": {"allowed_ips": NETWORKS, "playground": "true"},
    "allowed_ips without authentication": {"allowed_ips": NETWORKS, "authentication": "none"},
    "quota with domain": {"quota": "100000", **DOMAIN},
    "vpc_endpoint with quota": {"vpc_endpoint": ENDPOINT, "quota": "100000"},
    "bulk": BULK,
    "bulk with results_days": {**BULK, "results_days": "30", "bulk_memory": "3008"},
    "bulk on a bucket that exists": {
        "bulk_bucket": "our-pictures",
        "bulk_prefix": "none",
        "bulk_key": (
            "arn:aws:kms:eu-central-1:123456789012:key/0a1b2c3d-0000-4444-8888-aabbccddeeff"
        ),
    },
    "uploads": UPLOADS,
    "uploads with everything": {
        **UPLOADS,
        **EVERYTHING,
        "upload_tags": "true",
        "upload_prefix": "images/new/",
        "upload_concurrency": "7",
    },
}

KEYED = {" ".join(route) for route in gateway.KEYED}
PREFLIGHTS = sorted(f"OPTIONS {path}" for _, path in gateway.KEYED)


def test_the_function_is_the_image_with_its_settings(synth: Synth) -> None:
    function = synth().one("Lambda::Function")
    assert function["PackageType"] == "Image"
    assert (function["MemorySize"], function["Timeout"], function["Architectures"]) == (
        3008,
        28,
        ["arm64"],
    )
    assert function["Environment"]["Variables"] == {"CORS_ORIGIN": "*"}
    assert function["LoggingConfig"]["LogFormat"] == "JSON"
    assert "ReservedConcurrentExecutions" not in function
    assert not synth().all("Lambda::Alias")


def test_memory_timeout_and_reserved_concurrency_reach_the_function(synth: Synth) -> None:
    made = synth(memory="1769", timeout=10, reserved_concurrency="3")
    function = made.one("Lambda::Function")
    assert (
        function["MemorySize"],
        function["Timeout"],
        function["ReservedConcurrentExecutions"],
    ) == (1769, 10, 3)


@pytest.mark.parametrize(
    ("architecture", "platform"), [("arm64", "linux/arm64"), ("x86_64", "linux/amd64")]
)
def test_the_architecture_is_the_function_s_and_the_image_s(
    synth: Synth, architecture: str, platform: str
) -> None:
    made = synth(architecture=architecture)
    assert made.one("Lambda::Function")["Architectures"] == [architecture]
    (image,) = json.loads(
        (made.folder / "clip-classifier.assets.json").read_text(encoding="utf-8")
    )["dockerImages"].values()
    assert image["source"]["platform"] == platform
    assert image["source"]["dockerBuildArgs"] == {
        "BUNDLE": "models/demo",
        "BASE_IMAGE": "public.ecr.aws/lambda/python:3.13",
    }
    assert image["source"]["dockerFile"] == "lambdas/classifier/Dockerfile"


def test_kept_warm_environments_stand_behind_an_alias_that_the_api_calls(synth: Synth) -> None:
    made = synth(provisioned_concurrency=2)
    (alias,) = [
        name
        for name, one in made.template["Resources"].items()
        if one["Type"] == "AWS::Lambda::Alias"
    ]
    assert made.one("Lambda::Alias")["ProvisionedConcurrencyConfig"] == {
        "ProvisionedConcurrentExecutions": 2
    }
    uris = {name: method["Integration"].get("Uri") for name, method in made.methods().items()}
    assert {name for name, uri in uris.items() if alias in json.dumps(uri)} == KEYED
    assert all(
        alias in json.dumps(permission["FunctionName"])
        for permission in made.all("Lambda::Permission")
    )


def test_the_role_writes_its_own_log_and_can_do_no_more(synth: Synth) -> None:
    role = synth().one("IAM::Role")
    policy = synth().one("IAM::Policy")
    assert "ManagedPolicyArns" not in role
    granted = {
        tuple(sorted(statement["Action"])): statement["Resource"]
        for statement in policy["PolicyDocument"]["Statement"]
    }
    log = synth().one("Lambda::Function")["LoggingConfig"]["LogGroup"]["Ref"]
    assert granted == {
        ("logs:CreateLogStream", "logs:PutLogEvents"): {"Fn::GetAtt": [log, "Arn"]},
    }


def test_traces_cost_money_and_are_made_only_where_the_settings_ask(synth: Synth) -> None:
    for tracing in (False, True):
        made = synth(**BULK, tracing=tracing)
        functions = [one.get("TracingConfig") for one in made.all("Lambda::Function")]
        assert functions == [{"Mode": "Active"} if tracing else None] * 2
        assert bool(made.one("ApiGateway::Stage").get("TracingEnabled")) is tracing
        machine = made.one("StepFunctions::StateMachine")
        assert bool(machine.get("TracingConfiguration", {}).get("Enabled")) is tracing
        assert ("xray:" in json.dumps(made.template)) is tracing


def test_the_api_is_regional_and_hands_over_each_binary_type_in_base64(synth: Synth) -> None:
    rest = synth().one("ApiGateway::RestApi")
    assert rest["EndpointConfiguration"] == {"IpAddressType": "dualstack", "Types": ["REGIONAL"]}
    assert rest["BinaryMediaTypes"] == list(BINARY_TYPES)
    assert "*/*" not in rest["BinaryMediaTypes"]


@pytest.mark.parametrize("settings", ["", f"vpc_endpoint={ENDPOINT}"])
def test_no_api_takes_tls_before_1_2(synth: Synth, settings: str) -> None:
    made = synth(**dict(word.split("=", 1) for word in settings.split()))
    assert made.one("ApiGateway::RestApi")["SecurityPolicy"] == "TLS_1_2"


def test_post_asks_for_a_key_of_the_usage_plan(synth: Synth) -> None:
    made = synth()
    assert {name: method["ApiKeyRequired"] for name, method in made.methods().items()} == {
        **dict.fromkeys(KEYED, True),
        **dict.fromkeys(PREFLIGHTS, False),
    }
    assert (
        made.one("ApiGateway::UsagePlan")["ApiStages"][0]["Stage"]
        == made.one("ApiGateway::ApiKey")["StageKeys"][0]["StageName"]
    )
    assert made.one("ApiGateway::UsagePlanKey")["KeyType"] == "API_KEY"
    assert made.outputs() == {"Url", "FunctionName", "ApiKeyCommand", "Dashboard"}


def test_without_authentication_there_is_no_key(synth: Synth) -> None:
    made = synth(authentication="none")
    assert made.methods()["POST /"]["ApiKeyRequired"] is False
    assert not made.all("ApiGateway::ApiKey") + made.all("ApiGateway::UsagePlan")
    assert made.outputs() == {"Url", "FunctionName", "Dashboard"}


def test_the_function_s_time_ends_before_the_api_s(synth: Synth) -> None:
    assert (
        synth().one("Lambda::Function")["Timeout"] * 1000
        < synth().methods()["POST /"]["Integration"]["TimeoutInMillis"]
        <= 29000
    )
    assert Settings.model_fields["timeout"].metadata[-1].le < gateway.TIMEOUT_S


def test_the_throttle_holds_for_the_stage(synth: Synth) -> None:
    assert synth().throttles() == {"/* *": (10, 20)}
    assert synth(throttle_rate="0.5", throttle_burst="2").throttles() == {"/* *": (0.5, 2)}


def test_the_playground_is_open_and_throttled_on_its_own(synth: Synth) -> None:
    made = synth(playground="true")
    keys = {name: method.get("ApiKeyRequired", False) for name, method in made.methods().items()}
    assert keys == {
        **dict.fromkeys(KEYED, True),
        **dict.fromkeys([*PREFLIGHTS, "GET /", "GET /openapi.json"], False),
    }
    assert made.throttles() == {"/* *": (10, 20), "/ GET": (2, 5), "/~1openapi.json GET": (2, 5)}


@pytest.mark.parametrize("origin", ["*", "https://example.org"])
def test_one_origin_is_everywhere_the_same(synth: Synth, origin: str) -> None:
    made = synth(cors_origin=origin)
    assert made.one("Lambda::Function")["Environment"]["Variables"]["CORS_ORIGIN"] == origin
    headers = [answer["ResponseParameters"] for answer in made.all("ApiGateway::GatewayResponse")]
    assert headers == [{"gatewayresponse.header.Access-Control-Allow-Origin": f"'{origin}'"}] * len(
        headers
    )
    assert preflight(made)[1]["access-control-allow-origin"] == origin


def preflight(made: Synthesized) -> tuple[int, dict[str, str]]:
    """What the gateway answers by itself."""
    integration = made.methods()["OPTIONS /"]["Integration"]
    assert integration["Type"] == "MOCK"
    (response,) = integration["IntegrationResponses"]
    prefix = "method.response.header."
    headers = {
        name.removeprefix(prefix).lower(): value.strip("'")
        for name, value in response["ResponseParameters"].items()
    }
    return int(response["StatusCode"]), headers


def test_the_gateway_answers_a_preflight_as_the_handler_would(
    synth: Synth, handler: Handler
) -> None:
    status, headers = preflight(synth())
    answer = handler({"httpMethod": "OPTIONS", "resource": "/", "headers": {}}, Context())
    theirs = {name.lower(): value for name, value in answer["headers"].items()}
    assert status == answer["statusCode"]
    for name in ("access-control-allow-origin", "access-control-allow-headers"):
        assert headers[name].replace(",", ", ") == theirs[name], name
    # What can be read with GET needs no preflight, and is on AWS with the playground alone.
    assert set(headers["access-control-allow-methods"].split(",")) == set(
        theirs["access-control-allow-methods"].split(", ")
    ) - {"GET"}
    assert "X-Api-Key" in headers["access-control-allow-headers"]


def responses(made: Synthesized) -> dict[str, tuple[str | None, str, str]]:
    """Status, message (… for API Gateway's own) and code by response type."""
    answers = {}
    for response in made.all("ApiGateway::GatewayResponse"):
        body = json.loads(
            response["ResponseTemplates"]["application/json"].replace(
                "$context.error.messageString", '"…"'
            )
        )
        assert set(body) == {"message", "code"}
        answers[response["ResponseType"]] = (
            response.get("StatusCode"),
            body["message"],
            body["code"],
        )
    return answers


def test_error_responses_of_the_gateway_are_those_of_the_local_server(synth: Synth) -> None:
    expected = {
        name: (str(status) if status else None, message or "…", code)
        for name, (status, message, code) in GATEWAY_RESPONSES.items()
    }
    assert responses(synth()) == responses(synth(playground="true")) == expected


def test_the_local_server_has_the_gateways_routes_and_keys(synth: Synth) -> None:
    methods = {
        tuple(name.split()): method for name, method in synth(playground="true").methods().items()
    }
    assert {path for _, path in methods} == set(gateway.PATHS)
    assert {
        route for route, method in methods.items() if method.get("ApiKeyRequired")
    } == gateway.KEYED


def statements(made: Synthesized) -> list[tuple[str, object, object, object]]:
    """Effect, principal, resource and condition of each statement about who may call."""
    policy = made.one("ApiGateway::RestApi").get("Policy", {"Statement": []})
    assert {entry["Action"] for entry in policy["Statement"]} <= {"execute-api:Invoke"}
    return [
        (entry["Effect"], entry["Principal"]["AWS"], entry["Resource"], entry.get("Condition"))
        for entry in policy["Statement"]
    ]


ROOT_OF_ACCOUNT = {
    "Fn::Join": [
        "",
        ["arn:", {"Ref": "AWS::Partition"}, ":iam::", {"Ref": "AWS::AccountId"}, ":root"],
    ]
}
OTHER_NETWORKS = (
    "Deny",
    "*",
    "execute-api:/*",
    {"NotIpAddress": {"aws:SourceIp": ["203.0.113.0/24", "2001:db8::/32"]}},
)
OTHER_ENDPOINTS = ("Deny", "*", "execute-api:/*", {"StringNotEquals": {"aws:SourceVpce": ENDPOINT}})
ANYONE = ("Allow", "*", "execute-api:/*", None)
THIS_ACCOUNT = [
    (
        "Allow",
        ROOT_OF_ACCOUNT,
        [f"execute-api:/*/{name.replace(' ', '')}" for name in sorted(KEYED)],
        None,
    ),
    ("Allow", "*", [f"execute-api:/*/{name.replace(' ', '')}" for name in PREFLIGHTS], None),
]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("default", []),
        ("quota", []),
        ("domain", []),
        ("iam", THIS_ACCOUNT),
        ("allowed_ips", [ANYONE, OTHER_NETWORKS]),
        ("allowed_ips without authentication", [ANYONE, OTHER_NETWORKS]),
        ("vpc_endpoint", [ANYONE, OTHER_ENDPOINTS]),
        ("iam with allowed_ips", [*THIS_ACCOUNT, OTHER_NETWORKS]),
        ("iam with vpc_endpoint", [*THIS_ACCOUNT, OTHER_ENDPOINTS]),
    ],
)
def test_the_resource_policy_lets_in_whom_the_settings_name(
    synth: Synth, settings: str, expected: list[object]
) -> None:
    assert statements(synth(**COMBINATIONS[settings])) == expected


def test_a_new_resource_policy_gets_a_new_deployment_of_the_api(synth: Synth) -> None:
    """API Gateway applies a policy only when the API is deployed again."""
    names = {
        next(
            name
            for name, resource in synth(**settings).template["Resources"].items()
            if resource["Type"] == "AWS::ApiGateway::Deployment"
        )
        for settings in ({}, {"allowed_ips": NETWORKS}, {"allowed_ips": "203.0.113.0/24"})
    }
    assert len(names) == 3


def test_with_iam_post_wants_a_signature_and_a_browser_may_send_one(synth: Synth) -> None:
    made = synth(authentication="iam")
    methods = made.methods()
    assert (methods["POST /"]["AuthorizationType"], methods["POST /"]["ApiKeyRequired"]) == (
        "AWS_IAM",
        False,
    )
    assert methods["OPTIONS /"]["AuthorizationType"] == "NONE"
    allowed = set(preflight(made)[1]["access-control-allow-headers"].split(","))
    assert allowed == {
        "Content-Type",
        "Authorization",
        "X-Amz-Date",
        "X-Amz-Security-Token",
        "X-Amz-Content-Sha256",
    }
    assert not made.all("ApiGateway::ApiKey") + made.all("ApiGateway::UsagePlan")
    assert made.outputs() == {"Url", "FunctionName", "Authentication", "Dashboard"}


def test_with_iam_an_unsigned_request_is_forbidden_and_not_unknown(synth: Synth) -> None:
    answers = responses(synth(authentication="iam"))
    status, message, code = answers["MISSING_AUTHENTICATION_TOKEN"]
    assert (status, code, message.startswith("Sign the request")) == ("403", "forbidden", True)
    assert {
        answers[name][::2] for name in ("ACCESS_DENIED", "INVALID_SIGNATURE", "EXPIRED_TOKEN")
    } == {("403", "forbidden")}


@pytest.mark.parametrize("settings", ["allowed_ips", "vpc_endpoint"])
def test_who_is_kept_out_by_the_policy_is_forbidden(synth: Synth, settings: str) -> None:
    assert responses(synth(**COMBINATIONS[settings]))["ACCESS_DENIED"] == ("403", "…", "forbidden")


def url(made: Synthesized) -> str:
    """The output Url, with names for what only AWS knows."""
    value = made.template["Outputs"]["Url"]["Value"]
    if isinstance(value, str):
        return value
    return "".join(
        part if isinstance(part, str) else f"<{part['Ref'].rpartition('::')[2][:7]}>"
        for part in value["Fn::Join"][1]
    )


@pytest.mark.parametrize(
    "settings", ["vpc_endpoint", "iam with vpc_endpoint", "vpc_endpoint with quota"]
)
def test_a_private_api_is_reached_through_its_endpoint_alone(synth: Synth, settings: str) -> None:
    made = synth(**COMBINATIONS[settings])
    assert made.one("ApiGateway::RestApi")["EndpointConfiguration"] == {
        "IpAddressType": "dualstack",
        "Types": ["PRIVATE"],
        "VpcEndpointIds": [ENDPOINT],
    }
    assert url(made) == f"https://<ApiRest>-{ENDPOINT}.execute-api.<Region>.<URLSuff>/<ApiRest>/"
    assert made.template["Outputs"]["VpcEndpoint"]["Value"] == ENDPOINT
    assert OTHER_ENDPOINTS in statements(made)


@pytest.mark.parametrize(
    "settings", ["domain", "iam with domain", "quota with domain", "allowed_ips with domain"]
)
def test_a_domain_has_its_certificate_its_records_and_the_api(synth: Synth, settings: str) -> None:
    made = synth(**COMBINATIONS[settings])
    domain = made.one("ApiGateway::DomainName")
    assert (domain["DomainName"], domain["RegionalCertificateArn"]) == (
        DOMAIN["domain"],
        DOMAIN["certificate"],
    )
    assert (domain["EndpointConfiguration"], domain["SecurityPolicy"]) == (
        {"IpAddressType": "dualstack", "Types": ["REGIONAL"]},
        "TLS_1_2",
    )
    (name,) = [
        name
        for name, part in made.template["Resources"].items()
        if part["Type"] == "AWS::ApiGateway::DomainName"
    ]
    (stage,) = [
        name
        for name, part in made.template["Resources"].items()
        if part["Type"] == "AWS::ApiGateway::Stage"
    ]
    mapping = made.one("ApiGateway::BasePathMapping")
    assert (mapping["DomainName"], mapping["Stage"], mapping.get("BasePath")) == (
        {"Ref": name},
        {"Ref": stage},
        None,
    )
    target = {
        "DNSName": {"Fn::GetAtt": [name, "RegionalDomainName"]},
        "HostedZoneId": {"Fn::GetAtt": [name, "RegionalHostedZoneId"]},
    }
    assert made.all("Route53::RecordSet") == [
        {
            "AliasTarget": target,
            "HostedZoneId": DOMAIN["hosted_zone"],
            "Name": DOMAIN["domain"],
            "Type": kind,
        }
        for kind in ("A", "AAAA")
    ]
    assert url(made) == "https://clip.example.org/"


@pytest.mark.parametrize("settings", ["quota", "vpc_endpoint with quota", "quota with domain"])
def test_a_quota_counts_calls_of_the_key_by_month(synth: Synth, settings: str) -> None:
    made = synth(**COMBINATIONS[settings])
    assert made.one("ApiGateway::UsagePlan")["Quota"] == {"Limit": 100000, "Period": "MONTH"}
    assert responses(made)["QUOTA_EXCEEDED"][::2] == ("429", "too_many_requests")
    assert "Quota" not in synth().one("ApiGateway::UsagePlan")


def test_the_base_image_is_a_build_argument(synth: Synth) -> None:
    image = image_source(synth(base_image=BASE).folder / "clip-classifier.template.json")
    assert image["dockerBuildArgs"]["BASE_IMAGE"] == BASE


def test_the_default_base_image_is_the_dockerfiles() -> None:
    dockerfile = (ROOT / "lambdas" / "classifier" / "Dockerfile").read_text(encoding="utf-8")
    assert f"ARG BASE_IMAGE={Settings.model_fields['base_image'].default}\n" in dockerfile


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


def test_the_dashboard_asks_for_what_the_handler_logs(
    handler: Handler, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    picture = b64encode((ROOT / "examples" / "images" / "dog.jpg").read_bytes()).decode()
    for body in (json.dumps({"image_data": picture, "labels": ["a dog", "a cat"]}), "{"):
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


def test_two_deployments_differ_in_their_names_and_share_nothing(synth: Synth) -> None:
    made = synth(name="clip-staging")
    assert (made.folder / "clip-staging.template.json").exists()
    assert made.one("ApiGateway::RestApi")["Name"] == "clip-staging"
    assert "clip-classifier" not in json.dumps(made.all("CloudWatch::Alarm"))
    fixed = re.compile(r"^(Function|Role|LogGroup|Dashboard|Alarm|Topic|UsagePlan)Name$")
    for resource in synth(**EVERYTHING).template["Resources"].values():
        properties = resource.get("Properties", {})
        assert not [
            key for key, value in properties.items() if fixed.match(key) and isinstance(value, str)
        ], resource


@pytest.mark.parametrize("settings", COMBINATIONS.values(), ids=COMBINATIONS)
def test_cdk_nag_finds_nothing_that_is_not_explained(
    synth: Synth, settings: dict[str, str]
) -> None:
    report = synth(**settings).report
    assert {plugin["pluginName"] for plugin in report} == {"AwsSolutions", "Serverless"}
    for plugin in report:
        assert (plugin["conclusion"], plugin["violations"]) == ("success", [])
        for explained in plugin["suppressedViolations"]:
            assert len(explained["reason"].split()) > 4, explained


def lint(template: str) -> list[str]:
    """cfn-lint's errors and warnings; W3005 is about a dependency that CDK itself writes twice."""
    config: ManualArgs = {"ignore_checks": ["W3005"], "regions": ["eu-central-1"]}
    return [str(match) for match in cfnlint.api.lint(template, config=config)]


def test_cfn_lint_is_asked() -> None:
    assert lint('{"Resources": {"Topic": {"Type": "AWS::SNS::Topic", "Properties": {"A": 1}}}}')


@pytest.mark.parametrize("settings", COMBINATIONS.values(), ids=COMBINATIONS)
def test_cfn_lint_finds_nothing(synth: Synth, settings: dict[str, str]) -> None:
    assert lint(json.dumps(synth(**settings).template)) == []


def test_the_account_s_role_for_logs_outlives_every_stack_and_is_in_none(synth: Synth) -> None:
    template = (ROOT / "stacks" / "logging_role.yaml").read_text(encoding="utf-8")
    assert lint(template) == []
    assert template.count("DeletionPolicy: RetainExceptOnCreate") == 2
    assert not synth(**EVERYTHING).all("ApiGateway::Account")


def test_every_run_time_requirement_has_an_arm64_wheel(tmp_path: Path) -> None:
    platforms = [f"--platform={name}_aarch64" for name in ("manylinux_2_28", "manylinux2014")]
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--dry-run",
        "--no-deps",
        "--quiet",
        "--disable-pip-version-check",
    ]
    wanted = ["--only-binary=:all:", "--python-version=3.13", *platforms, f"--target={tmp_path}"]
    requirements = ROOT / "lambdas" / "classifier" / "requirements.txt"
    done = subprocess.run(
        [*pip, *wanted, "-r", requirements], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def app(folder: Path, context: dict[str, object]) -> subprocess.CompletedProcess[str]:
    """app.py as cdk runs it, where there is Node and nothing else: no Docker, no credentials."""
    node = shutil.which("node")
    assert node
    (folder / "bin").mkdir()
    (folder / "bin" / "node").symlink_to(node)
    environment = {
        "PATH": str(folder / "bin"),
        "HOME": os.environ["HOME"],
        "AWS_CONFIG_FILE": "/nowhere",
        "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
        "CDK_OUTDIR": str(folder / "out"),
        "CDK_CONTEXT_JSON": json.dumps(context),
    }
    return subprocess.run(
        [sys.executable, "app.py"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_synthesis_needs_neither_docker_nor_credentials(tmp_path: Path) -> None:
    context = json.loads((ROOT / "cdk.json").read_text(encoding="utf-8"))["context"]
    done = app(
        tmp_path, context | {"bundle": "models/demo", "synth_only": "true", "memory": "1769"}
    )
    assert done.returncode == 0, done.stderr
    template = json.loads(
        (tmp_path / "out" / "clip-classifier.template.json").read_text(encoding="utf-8")
    )
    (function,) = [
        resource
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::Lambda::Function"
    ]
    assert function["Properties"]["MemorySize"] == 1769


def test_a_refused_setting_ends_synthesis_with_its_message(tmp_path: Path) -> None:
    done = app(tmp_path, {"bundle": "models/demo"})
    assert done.returncode == 1
    assert (
        done.stderr.strip()
        .splitlines()[-1]
        .startswith("error: bundle=models/demo is the demo model")
    )


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """What an image could be made of, and much that must not matter."""
    shutil.copytree(
        ROOT / "lambdas", tmp_path / "lambdas", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copytree(DEMO, tmp_path / "models" / "demo")
    return tmp_path


def image(root: Path, outdir: Path | None = None) -> str:
    """The image's asset hash, which is its tag."""
    cdk.AssetStaging.clear_asset_hash_cache()
    context = {} if outdir else {"aws:cdk:disable-asset-staging": True}
    app = cdk.App(outdir=str(outdir or root / "build" / "cdk.out"), context=context)
    settings = Settings.read({"bundle": "models/demo", "synth_only": True})
    bundle = Bundle("models/demo", tuple(f"models/demo/{name}" for name in (MANIFEST, *FILES)))
    stack = cdk.Stack(app, "stack")
    Function(stack, "Function", settings=settings, bundle=bundle, root=root)
    template = app.synth().get_stack_by_name("stack").template
    (function,) = [
        resource
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::Lambda::Function"
    ]
    return str(function["Properties"]["Code"]["ImageUri"]["Fn::Sub"].rpartition(":")[2])


def test_the_image_s_tag_changes_with_what_goes_into_it_and_with_nothing_else(
    repository: Path,
) -> None:
    def touched(path: str) -> str:
        file = repository / path
        file.parent.mkdir(parents=True, exist_ok=True)
        before = file.read_bytes() if file.exists() else None
        file.write_bytes((before or b"") + b"\n")
        tag = image(repository)
        if before is None:
            file.unlink()
        else:
            file.write_bytes(before)
        return tag

    tag = image(repository)
    package = "lambdas/classifier"
    matters = [
        f"{package}/{name}"
        for name in ("handler.py", "playground.html", "new.py", "requirements.txt", "Dockerfile")
    ]
    for path in [*matters, *(f"models/demo/{name}" for name in (MANIFEST, *FILES))]:
        assert touched(path) != tag, path
    for path in (
        f"{package}/__pycache__/handler.cpython-311.pyc",
        "export/__main__.py",
        "tools/requirements.txt",
        "models/demo/README.md",
        "models/other/image.onnx",
        "lambdas/other/handler.py",
        "tests/stacks/test_stack.py",
        "stacks/api.py",
        "app.py",
        "cdk.json",
        "README.md",
        "requirements.txt",
        ".venv/lib/handler.py",
        "node_modules/aws-cdk/package.json",
        "build/notes.txt",
        ".git/index",
    ):
        assert touched(path) == tag, path
    assert image(repository) == tag


def test_the_image_s_context_is_the_package_and_one_bundle(repository: Path) -> None:
    tag = image(repository, repository / "out")
    context = repository / "out" / f"asset.{tag}"
    files = {path.relative_to(context).as_posix() for path in context.rglob("*") if path.is_file()}
    package = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "lambdas" / "classifier").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert files == package | {f"models/demo/{name}" for name in (MANIFEST, *FILES)}


EXTENSIONS = re.findall(
    r"```python\n(.*?)```",
    (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8").partition("## Extend the stack")[2],
    re.S,
)


@pytest.mark.parametrize("code", EXTENSIONS, ids=["web ACL", "traffic shifting", "VPC"])
def test_the_guides_extensions_of_the_stack_synthesize(code: str, tmp_path: Path) -> None:
    source = (ROOT / "stacks" / "classifier_stack.py").read_text(encoding="utf-8").rstrip()
    module: dict[str, Any] = {"__name__": "extended"}
    exec(compile(f"{source}\n{textwrap.indent(code, ' ' * 8)}", "extended", "exec"), module)
    settings = Settings.read(
        {"bundle": "models/demo", "synth_only": True, "provisioned_concurrency": 1}
    )
    app = cdk.App(outdir=str(tmp_path))
    module["ClassifierStack"](app, settings=settings, bundle=Bundle.read(ROOT, settings), root=ROOT)
    app.synth()
    expected = ("WebACLAssociation", "CodeDeploy::DeploymentGroup", "SecurityGroupIds")[
        EXTENSIONS.index(code)
    ]
    assert expected in (tmp_path / f"{settings.name}.template.json").read_text(encoding="utf-8")


def test_the_cdks_own_keys_for_a_permissions_boundary_and_tags_reach_every_role_and_resource(
    tmp_path: Path,
) -> None:
    settings = Settings.read({"bundle": "models/demo", "synth_only": True})
    app = cdk.App(
        outdir=str(tmp_path), context={"@aws-cdk/core:permissionsBoundary": {"name": "boundary"}}
    )
    stack = ClassifierStack(app, settings=settings, bundle=Bundle.read(ROOT, settings), root=ROOT)
    cdk.Tags.of(stack).add("team", "images")
    app.synth()
    template = json.loads((tmp_path / f"{settings.name}.template.json").read_text(encoding="utf-8"))
    roles = [
        resource["Properties"]
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::IAM::Role"
    ]
    assert roles
    assert all("policy/boundary" in json.dumps(role["PermissionsBoundary"]) for role in roles)
    assert all({"Key": "team", "Value": "images"} in role["Tags"] for role in roles)
