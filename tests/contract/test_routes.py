import pytest

from classifier.api.handler import Handler
from classifier.contract.routes import PREFLIGHTS, ROUTES, Route, methods
from tests.support.requests import Context, event
from tools.local import gateway


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_the_handler_and_the_local_gateway_serve_every_route(
    handler: Handler, route: Route
) -> None:
    path = route.path.replace("{id}", "demo")
    assert handler(event(None, route.method, path), Context())["statusCode"] not in (404, 405)
    assert route.path in gateway.PATHS


def test_a_wrong_method_is_told_those_of_the_table(handler: Handler) -> None:
    for path in {route.path for route in ROUTES}:
        answer = handler(event(None, "DELETE", path), Context())
        assert (answer["statusCode"], answer["headers"]["Allow"]) == (405, ", ".join(methods(path)))


@pytest.mark.parametrize("path", PREFLIGHTS)
def test_a_preflight_names_the_methods_of_its_path(handler: Handler, path: str) -> None:
    headers = handler(event(None, "OPTIONS", path), Context())["headers"]
    allowed = headers["Access-Control-Allow-Methods"].split(", ")
    assert sorted(allowed) == sorted(methods(path))
