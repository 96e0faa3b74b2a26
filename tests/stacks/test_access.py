import pytest

from classifier.contract.routes import PREFLIGHT_HEADERS
from stacks.settings.deployment import Settings
from stacks.settings.errors import SettingsError
from tests.support.stacks import (
    COMBINATIONS,
    DOMAIN,
    ENDPOINT,
    KEYED,
    NETWORKS,
    PREFLIGHTS,
    preflight,
    responses,
    statements,
)
from tests.support.synthesis import Synth, Synthesized


def test_post_asks_for_a_key_of_the_usage_plan(synth: Synth) -> None:
    made = synth()
    assert {
        name: method.get("ApiKeyRequired", False) for name, method in made.methods().items()
    } == {
        **dict.fromkeys(KEYED, True),
        **dict.fromkeys([*PREFLIGHTS, "GET /health"], False),
    }
    assert (
        made.one("ApiGateway::UsagePlan")["ApiStages"][0]["Stage"]
        == made.one("ApiGateway::ApiKey")["StageKeys"][0]["StageName"]
    )
    assert made.one("ApiGateway::UsagePlanKey")["KeyType"] == "API_KEY"
    assert made.outputs() == {"Url", "FunctionName", "Build", "ApiKeyCommand", "Dashboard"}


def test_without_authentication_there_is_no_key(synth: Synth) -> None:
    made = synth(authentication="none")
    assert made.methods()["POST /"]["ApiKeyRequired"] is False
    assert not made.all("ApiGateway::ApiKey") + made.all("ApiGateway::UsagePlan")
    assert made.outputs() == {"Url", "FunctionName", "Build", "Dashboard"}


def resource(method: str) -> str:
    """A method's in a policy, where a parameter of the path is a *."""
    return "execute-api:/*/" + method.replace(" ", "").replace("{id}", "*")


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
        sorted(map(resource, KEYED)),
        None,
    ),
    ("Allow", "*", sorted(map(resource, ["GET /health", *PREFLIGHTS])), None),
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
        *(set(PREFLIGHT_HEADERS) - {"X-Api-Key"}),
        "X-Amz-Date",
        "X-Amz-Security-Token",
        "X-Amz-Content-Sha256",
    }
    assert not made.all("ApiGateway::ApiKey") + made.all("ApiGateway::UsagePlan")
    assert made.outputs() == {"Url", "FunctionName", "Build", "Authentication", "Dashboard"}


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


@pytest.mark.parametrize(
    ("settings", "outputs"),
    [
        ({"allowed_ips": NETWORKS}, {"AllowedIps": NETWORKS}),
        ({"quota": "100"}, {"Quota": "100"}),
        ({"provisioned_concurrency": "1"}, {"Alias": "warm"}),
    ],
)
def test_the_outputs_say_how_the_endpoint_can_be_called(
    synth: Synth, settings: dict[str, str], outputs: dict[str, str]
) -> None:
    made = synth(**settings).template["Outputs"]
    assert {name: made[name]["Value"] for name in outputs} == outputs
    plain = synth().template["Outputs"]
    assert not plain.keys() & outputs.keys()


def test_a_domain_can_be_the_only_address(synth: Synth) -> None:
    assert synth(**DOMAIN, domain_only="true").one("ApiGateway::RestApi")[
        "DisableExecuteApiEndpoint"
    ]
    assert "DisableExecuteApiEndpoint" not in synth(**DOMAIN).one("ApiGateway::RestApi")
    with pytest.raises(SettingsError, match="there would be no other"):
        Settings.read({"bundle": "models/demo", "domain_only": True})
