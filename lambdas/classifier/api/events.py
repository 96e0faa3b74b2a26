"""Lambda's events to one kind of HTTP request, and responses back into the form that the caller
expects.

REST API (v1), HTTP API and function URL (v2), Application Load Balancer, and direct invocation.
https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html
"""

import base64
import json
from dataclasses import dataclass, field
from typing import Any, TypeGuard
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


def read_event(event: object) -> Request:
    """Raises ApiError for an HTTP event whose body can't be read."""
    if not _is_http(event):
        return Request("POST", "/", {"content-type": "application/json"}, body=_dumped(event))
    context = _object(event, "requestContext")
    if http := _object(context, "http"):
        query = parse_qs(_text(event, "rawQueryString"), keep_blank_values=True)
        path = _text(http, "path")
        stage = f"/{_text(context, 'stage')}"
        # A stage other than $default is part of the path.
        path = path.removeprefix(stage) or "/" if f"{path}/".startswith(f"{stage}/") else path
        return Request(_text(http, "method"), path, _headers(event), query, _body(event))
    # Behind a custom domain a REST API's path holds the base path, its resource doesn't; a load
    # balancer has the path alone.
    resource = _text(event, "resource")
    path = resource if resource.startswith("/") else _text(event, "path")
    return Request(_text(event, "httpMethod"), path, _headers(event), _query(event), _body(event))


def _is_http(event: object) -> TypeGuard[Event]:
    """Otherwise the event is the body of a request itself: a direct invocation."""
    return isinstance(event, dict) and bool({"httpMethod", "requestContext"} & event.keys())


def write_response(event: object, response: Response) -> Any:
    """The response in the form that this kind of event is answered with: for a direct invocation
    the body as an object.
    """
    if not _is_http(event):
        body = json.loads(response["body"])
        return (
            body if response["statusCode"] == 200 else body | {"statusCode": response["statusCode"]}
        )
    # A load balancer with multi-value headers ignores `headers`; a REST API takes either.
    if "elb" in _object(event, "requestContext") and "multiValueHeaders" in event:
        return response | {
            "multiValueHeaders": {name: [value] for name, value in response["headers"].items()}
        }
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


def _query(event: Event) -> dict[str, list[str]]:
    query = {
        **{name: [value] for name, value in _object(event, "queryStringParameters").items()},
        **{
            name: values
            for name, values in _object(event, "multiValueQueryStringParameters").items()
            if isinstance(values, list)
        },
    }
    # A load balancer leaves the percent-encoding to the function.
    decode = unquote_plus if "elb" in _object(event, "requestContext") else str
    texts = {
        decode(name): [decode(value) for value in values if isinstance(value, str)]
        for name, values in query.items()
    }
    return {name: values for name, values in texts.items() if values}


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
