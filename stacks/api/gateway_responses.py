"""The error responses that API Gateway gives by itself. Plain data: the stack and the local server
both use it.
"""

from typing import NamedTuple


class GatewayResponse(NamedTuple):
    """`status` None: each error keeps its own. `message` None: API Gateway's own text."""

    status: int | None
    message: str | None
    code: str


# https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-response-types.html
GATEWAY_RESPONSES = {
    "DEFAULT_4XX": GatewayResponse(None, None, "invalid_request"),
    "INVALID_API_KEY": GatewayResponse(
        403, "The API key is missing or wrong; send it in the header x-api-key.", "forbidden"
    ),
    # API Gateway gives this for every unknown path and method.
    "MISSING_AUTHENTICATION_TOKEN": GatewayResponse(
        404,
        "There is nothing at this path with this method. Send images with POST to /; a path has no"
        " slash at its end.",
        "not_found",
    ),
    "REQUEST_TOO_LARGE": GatewayResponse(
        413, "The body is too large; keep it below 6 MB, which is 4.5 MB of image.", "too_large"
    ),
    "UNSUPPORTED_MEDIA_TYPE": GatewayResponse(
        415, "Send JSON or an image, and say so in Content-Type.", "unsupported_media_type"
    ),
    "THROTTLED": GatewayResponse(
        429,
        "Too many requests; try again later, each time after a longer pause.",
        "too_many_requests",
    ),
    # No environment free, one that failed to start, or a function that was idle for weeks.
    "DEFAULT_5XX": GatewayResponse(
        None, "No answer this time; try again, each time after a longer pause.", "unavailable"
    ),
    "INTEGRATION_TIMEOUT": GatewayResponse(
        504, "Out of time; ask for less at once, or try again.", "out_of_time"
    ),
}
# If a resource policy decides who may call.
ACCESS_RESPONSES = {"ACCESS_DENIED": GatewayResponse(403, None, "forbidden")}
# With authentication=iam an unsigned request and an unknown path get the same response type.
IAM_RESPONSES = {
    "MISSING_AUTHENTICATION_TOKEN": GatewayResponse(
        403,
        "Sign the request with AWS Signature Version 4. Send images with POST to /; a path has no"
        " slash at its end.",
        "forbidden",
    ),
    "INVALID_SIGNATURE": GatewayResponse(403, None, "forbidden"),
    "EXPIRED_TOKEN": GatewayResponse(403, None, "forbidden"),
}
QUOTA_RESPONSES = {
    "QUOTA_EXCEEDED": GatewayResponse(
        429, "The quota of calls for this month is used up.", "too_many_requests"
    ),
}
