"""The kinds of Lambda's events: each reads one HTTP request out of an event, and writes the
response in the form that its sender expects.

https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html
"""

import base64
import json
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote_plus

from classifier.contract.errors import ApiError

Event = dict[str, Any]
Response = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """`headers` has lower-case names; `query` holds every value of every parameter."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    query: dict[str, list[str]] = field(default_factory=dict)
    body: bytes | str = ""


class EventKind(Protocol):
    """One kind of event: reads the request out of it and writes the response for its sender."""

    def read(self) -> Request:
        """Raises ApiError for a body that can't be read."""

    def write(self, response: Response) -> Any: ...


def kind_of(event: object) -> EventKind:
    if not isinstance(event, dict) or not {"httpMethod", "requestContext"} & event.keys():
        return Invocation(event)
    context = _object(event, "requestContext")
    if _object(context, "http"):
        return HttpApi(event)
    return LoadBalancer(event) if "elb" in context else RestApi(event)


@dataclass(frozen=True)
class Invocation:
    """A direct invocation: the event is the request's body, and the response's body the answer."""

    event: object

    def read(self) -> Request:
        return Request("POST", "/", {"content-type": "application/json"}, body=_dumped(self.event))

    def write(self, response: Response) -> Any:
        body = json.loads(response["body"])
        status = response["statusCode"]
        return body if status == 200 else body | {"statusCode": status}


@dataclass(frozen=True)
class RestApi:
    """A REST API's event (v1)."""

    event: Event

    def read(self) -> Request:
        # Behind a custom domain the path holds the base path; the resource doesn't.
        resource = _text(self.event, "resource")
        path = resource if resource.startswith("/") else _text(self.event, "path")
        for name, value in _object(self.event, "pathParameters").items():
            path = path.replace(f"{{{name}}}", str(value))
        method = _text(self.event, "httpMethod")
        return Request(method, path, _headers(self.event), self._query(), _body(self.event))

    def write(self, response: Response) -> Any:
        return response

    def _query(self) -> dict[str, list[str]]:
        single = _object(self.event, "queryStringParameters")
        several = _object(self.event, "multiValueQueryStringParameters")
        query = {
            **{name: [value] for name, value in single.items()},
            **{name: values for name, values in several.items() if isinstance(values, list)},
        }
        texts = {
            self._decoded(name): [
                self._decoded(value) for value in values if isinstance(value, str)
            ]
            for name, values in query.items()
        }
        return {name: values for name, values in texts.items() if values}

    def _decoded(self, text: str) -> str:
        return text


@dataclass(frozen=True)
class LoadBalancer(RestApi):
    """An Application Load Balancer's event: it has only a path, and leaves the percent-encoding to
    the function.
    """

    def write(self, response: Response) -> Any:
        # With multi-value headers it ignores `headers`.
        if "multiValueHeaders" not in self.event:
            return response
        headers = {name: [value] for name, value in response["headers"].items()}
        return response | {"multiValueHeaders": headers}

    def _decoded(self, text: str) -> str:
        return unquote_plus(text)


@dataclass(frozen=True)
class HttpApi:
    """An HTTP API's or a function URL's event (v2)."""

    event: Event

    def read(self) -> Request:
        context = _object(self.event, "requestContext")
        http = _object(context, "http")
        query = parse_qs(_text(self.event, "rawQueryString"), keep_blank_values=True)
        path = _text(http, "path")
        stage = f"/{_text(context, 'stage')}"
        # A stage other than $default is part of the path.
        path = path.removeprefix(stage) or "/" if f"{path}/".startswith(f"{stage}/") else path
        return Request(_text(http, "method"), path, _headers(self.event), query, _body(self.event))

    def write(self, response: Response) -> Any:
        return response


def _headers(event: Event) -> dict[str, str]:
    headers = {
        **{
            name: values[-1]
            for name, values in _object(event, "multiValueHeaders").items()
            if isinstance(values, list) and values
        },
        **_object(event, "headers"),
    }
    return {name.lower(): value for name, value in headers.items() if isinstance(value, str)}


def _body(event: Event) -> bytes | str:
    body = event.get("body") or ""
    if not isinstance(body, str):
        raise ApiError(400, "invalid_request", "The event's body must be a string.")
    if event.get("isBase64Encoded") is not True:
        return body
    try:
        return base64.b64decode(body, validate=True)
    except ValueError as err:
        raise ApiError(
            400, "invalid_request", "The event's body says that it is base64 and isn't."
        ) from err


def _dumped(event: object) -> str:
    try:
        return json.dumps(event)
    except (RecursionError, TypeError, ValueError) as err:
        raise ApiError(
            400, "invalid_json", "The event is nested too deep or not JSON; send a flat object."
        ) from err


def _object(event: Event, name: str) -> dict[str, Any]:
    value = event.get(name)
    return value if isinstance(value, dict) else {}


def _text(event: Event, name: str) -> str:
    value = event.get(name)
    return value if isinstance(value, str) else ""
