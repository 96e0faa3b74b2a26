import pytest

from classifier.api.handler import Handler
from classifier.contract.request.media_types import BINARY_TYPES
from stacks.api.gateway_responses import GATEWAY_RESPONSES
from tests.support.requests import Context
from tests.support.stacks import ENDPOINT, HEALTH, KEYED, PREFLIGHTS, preflight, responses
from tests.support.synthesis import Synth
from tools.local import gateway


def test_the_api_is_regional_and_hands_over_each_binary_type_in_base64(synth: Synth) -> None:
    rest = synth().one("ApiGateway::RestApi")
    assert rest["EndpointConfiguration"] == {"IpAddressType": "dualstack", "Types": ["REGIONAL"]}
    assert rest["BinaryMediaTypes"] == list(BINARY_TYPES)
    assert "*/*" not in rest["BinaryMediaTypes"]


@pytest.mark.parametrize("settings", ["", f"vpc_endpoint={ENDPOINT}"])
def test_no_api_takes_tls_before_1_2(synth: Synth, settings: str) -> None:
    made = synth(**dict(word.split("=", 1) for word in settings.split()))
    assert made.one("ApiGateway::RestApi")["SecurityPolicy"] == "TLS_1_2"


def test_the_throttle_holds_for_the_stage(synth: Synth) -> None:
    assert synth().throttles() == {"/* *": (10, 20), **HEALTH}
    slow = synth(throttle_rate="0.5", throttle_burst="2")
    assert slow.throttles() == {"/* *": (0.5, 2), **HEALTH}


def test_the_playground_is_open_and_throttled_on_its_own(synth: Synth) -> None:
    made = synth(playground="true")
    keys = {name: method.get("ApiKeyRequired", False) for name, method in made.methods().items()}
    assert keys == {
        **dict.fromkeys(KEYED, True),
        **dict.fromkeys([*PREFLIGHTS, "GET /health", "GET /", "GET /openapi.json"], False),
    }
    page = {"/ GET": (2, 5), "/~1openapi.json GET": (2, 5)}
    assert made.throttles() == {"/* *": (10, 20), **page, **HEALTH}


@pytest.mark.parametrize("origin", ["*", "https://example.org"])
def test_one_origin_is_everywhere_the_same(synth: Synth, origin: str) -> None:
    made = synth(cors_origin=origin)
    assert made.one("Lambda::Function")["Environment"]["Variables"]["CORS_ORIGIN"] == origin
    headers = [answer["ResponseParameters"] for answer in made.all("ApiGateway::GatewayResponse")]
    assert headers == [{"gatewayresponse.header.Access-Control-Allow-Origin": f"'{origin}'"}] * len(
        headers
    )
    assert preflight(made)[1]["access-control-allow-origin"] == origin


def test_of_several_origins_the_function_alone_names_the_callers(synth: Synth) -> None:
    made = synth(cors_origin="https://example.org, https://app.example.org")
    variables = made.one("Lambda::Function")["Environment"]["Variables"]
    assert variables["CORS_ORIGIN"] == "https://example.org,https://app.example.org"
    headers = [answer["ResponseParameters"] for answer in made.all("ApiGateway::GatewayResponse")]
    assert headers == [{"gatewayresponse.header.Access-Control-Allow-Origin": "'*'"}] * len(headers)
    assert preflight(made)[1]["access-control-allow-origin"] == "*"


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
