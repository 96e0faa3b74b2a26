"""Events as AWS documents them, one of each kind that can call the function, all with the same
question.
"""

import base64
import json
from typing import Any
from urllib.parse import quote_plus

from tests.support.images import encoded, soft_image

IMAGE = encoded(soft_image(80, 60), "JPEG")
LABELS = ["a dog", "50% off & more", "кошка"]
QUESTION = {"image_data": base64.b64encode(IMAGE).decode(), "labels": LABELS}
_BODY = json.dumps(QUESTION)
_QUERY = "&".join(f"labels={quote_plus(label)}" for label in LABELS)
_ELB = {
    "elb": {
        "targetGroupArn": (
            "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/lambda/49e9d65c45c6791a"
        )
    }
}


def _http(method: str, path: str, stage: str = "$default") -> dict[str, Any]:
    http = {
        "method": method,
        "path": path,
        "protocol": "HTTP/1.1",
        "sourceIp": "192.0.2.1",
        "userAgent": "agent",
    }
    return {
        "accountId": "123456789012",
        "apiId": "api",
        "http": http,
        "requestId": "id",
        "routeKey": "$default",
        "stage": stage,
    }


# https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
REST: dict[str, Any] = {
    "resource": "/",
    "path": "/",
    "httpMethod": "POST",
    "headers": {"Content-Type": "application/json", "Host": "api.example.org"},
    "multiValueHeaders": {"Content-Type": ["application/json"], "Host": ["api.example.org"]},
    "queryStringParameters": None,
    "multiValueQueryStringParameters": None,
    "pathParameters": None,
    "stageVariables": None,
    "requestContext": {
        "resourceId": "root",
        "resourcePath": "/",
        "httpMethod": "POST",
        "path": "/prod/",
        "stage": "prod",
    },
    "body": _BODY,
    "isBase64Encoded": False,
}
# https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
HTTP: dict[str, Any] = {
    "version": "2.0",
    "routeKey": "POST /",
    "rawPath": "/prod/",
    "rawQueryString": "",
    "cookies": ["a=b"],
    "headers": {"content-type": "application/json", "host": "api.example.org"},
    "requestContext": _http("POST", "/prod/", "prod"),
    "body": _BODY,
    "isBase64Encoded": False,
}
# https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html
FUNCTION_URL: dict[str, Any] = {
    "version": "2.0",
    "routeKey": "$default",
    "rawPath": "/",
    "rawQueryString": _QUERY,
    "headers": {"content-type": "image/jpeg", "host": "id.lambda-url.eu-west-1.on.aws"},
    "queryStringParameters": {"labels": ",".join(LABELS)},
    "requestContext": _http("POST", "/"),
    "body": base64.b64encode(IMAGE).decode(),
    "isBase64Encoded": True,
}
# https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html
BALANCER: dict[str, Any] = {
    "requestContext": _ELB,
    "httpMethod": "POST",
    "path": "/",
    "queryStringParameters": {},
    "headers": {"content-type": "application/json", "host": "lb.example.org"},
    "body": _BODY,
    "isBase64Encoded": False,
}
BALANCER_MULTI: dict[str, Any] = {
    "requestContext": _ELB,
    "httpMethod": "POST",
    "path": "/",
    "multiValueQueryStringParameters": {"labels": [quote_plus(label) for label in LABELS]},
    "multiValueHeaders": {"content-type": ["image/jpeg"], "host": ["lb.example.org"]},
    "body": base64.b64encode(IMAGE).decode(),
    "isBase64Encoded": True,
}
HTTP_EVENTS = {
    "REST API": REST,
    "HTTP API": HTTP,
    "function URL": FUNCTION_URL,
    "load balancer": BALANCER,
    "load balancer, multi-value": BALANCER_MULTI,
}
