"""What a deployment's settings foresee: whom API Gateway keeps out."""

import re
from collections.abc import Mapping

from stacks.api.gateway_responses import QUOTA_RESPONSES
from tools.deploy.calls import Answer

# API Gateway's words of ACCESS_DENIED; a resource policy's refusal is explicit:
# https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-authorization-flow.html
DENIED = re.compile(r"not authorized to (?:perform: execute-api:Invoke|access this resource)")
EXPLICIT = re.compile(r"not authorized to perform: execute-api:Invoke .*explicit deny", re.DOTALL)


def is_refused(answer: Answer) -> bool:
    """Whether a policy refuses the caller, which waiting doesn't change."""
    return answer.status == 403 and bool(DENIED.search(answer.message))


def closed(answer: Answer, outputs: Mapping[str, str]) -> str | None:
    """Why the stack's own settings refuse this caller; None for every other answer."""
    networks = outputs.get("AllowedIps")
    if networks and answer.status == 403 and EXPLICIT.search(answer.message):
        return f"allowed_ips={networks} refuses this machine"
    quota = outputs.get("Quota")
    if (
        quota
        and answer.status == 429
        and answer.message == QUOTA_RESPONSES["QUOTA_EXCEEDED"].message
    ):
        return f"quota={quota} is used up"
    return None
