"""The REST (v1) event that API Gateway makes of an HTTP request."""

import base64
import re
import time
import uuid
from typing import Any
from urllib.parse import parse_qsl, unquote

from classifier.contract.request.media_types import BINARY_TYPES
from classifier.contract.routes import path_of

Scope = dict[str, Any]
BINARY = set(BINARY_TYPES)


def event_of(scope: Scope, body: bytes) -> dict[str, Any]:
    """The REST (v1) event of an ASGI request; a missing content type counts as JSON, and only
    BINARY comes in base64.
    """
    headers: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    query: dict[str, list[str]] = {}
    # A semicolon splits, as on AWS.
    for key, value in parse_qsl(
        scope["query_string"].decode("latin-1").replace(";", "&"), keep_blank_values=True
    ):
        query.setdefault(key, []).append(value)
    # Behind some proxies the path is a whole address: https://www.rfc-editor.org/rfc/rfc9112#section-3.2.2
    raw = re.sub("^https?://[^/]*", "", scope["raw_path"].decode("latin-1")) or "/"
    path = unquote(raw)
    # A parameter has no slash but an encoded one.
    address = unquote(re.sub("%2f", "%252F", raw, flags=re.IGNORECASE))
    resource = path_of(address) or path
    if resource.count("/") != raw.count("/"):
        resource = path
    identity = str(uuid.uuid4())
    now = time.time()
    kind = headers.get("content-type", ["application/json"])[-1].partition(";")[0].strip().lower()
    binary = kind in BINARY
    return {
        "resource": resource,
        "path": path,
        "httpMethod": scope["method"],
        "headers": {name: values[-1] for name, values in headers.items()},
        "multiValueHeaders": headers,
        "queryStringParameters": {name: values[-1] for name, values in query.items()} or None,
        "multiValueQueryStringParameters": query or None,
        "pathParameters": None if resource == path else {"id": raw.rpartition("/")[2]},
        "stageVariables": None,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "local",
            "domainName": headers.get("host", ["localhost"])[-1],
            "extendedRequestId": identity,
            "requestTime": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now)),
            "requestTimeEpoch": int(now * 1000),
            "resourceId": "local",
            "resourcePath": resource,
            "httpMethod": scope["method"],
            "path": path,
            "stage": "local",
            "requestId": identity,
            "protocol": f"HTTP/{scope['http_version']}",
            "identity": {
                "sourceIp": (scope.get("client") or ["127.0.0.1"])[0],
                "userAgent": headers.get("user-agent", [""])[-1],
            },
        },
        "body": (
            (base64.b64encode(body).decode() if binary else body.decode("utf-8", "replace"))
            if body
            else None
        ),
        "isBase64Encoded": binary and bool(body),
    }
