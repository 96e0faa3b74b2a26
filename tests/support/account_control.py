"""ministack, made as strict as AWS where our commands meet it. Run as: account_control.py PORT

- ECR knows the images that the registry has; ministack's own answer makes the CDK skip the push.
- Functions get at most the 3,008 MB of a new account.
- An event of more than 6 MB gets API Gateway's answer for it.
- A function without provisioned concurrency has an empty list of it.
"""

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import wraps
from typing import Any

from ministack.app import main
from ministack.core.responses import error_response_json, json_response
from ministack.services import apigateway_v1, ecr, lambda_svc
from ministack.services.cloudformation import provisioners

registry = sys.argv.pop()
MEMORY = 3008
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
EVENT = 6 * 1024 * 1024
KINDS = ", ".join(
    [
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.oci.image.index.v1+json",
    ]
)


def describe_images(asked: dict[str, Any]) -> Any:
    name = asked.get("repositoryName", "")
    details = []
    for image in asked.get("imageIds") or []:
        tag = image.get("imageTag") or image.get("imageDigest")
        address = f"http://127.0.0.1:{registry}/v2/{name}/manifests/{tag}"
        request = urllib.request.Request(address, method="HEAD", headers={"Accept": KINDS})
        try:
            with urllib.request.urlopen(request) as answer:
                details.append(
                    {
                        "registryId": ecr._registry_id(),
                        "repositoryName": name,
                        "imageTags": [tag],
                        "imageDigest": answer.headers["Docker-Content-Digest"],
                        "imageManifestMediaType": answer.headers["Content-Type"],
                    }
                )
        except urllib.error.HTTPError:
            message = f"The image with imageId {image} does not exist"
            return error_response_json("ImageNotFoundException", message, 400)
    return json_response({"imageDetails": details})


def within_quota(act: Callable[..., Any], position: int) -> Callable[..., Any]:
    """What creates or updates a function, whose properties are the argument at this position."""

    @wraps(act)
    def checked(*arguments: Any, **named: Any) -> Any:
        if int(arguments[position].get("MemorySize", 128)) > MEMORY:
            raise ValueError(
                "'MemorySize' value failed to satisfy constraint: Member must have value less than"
                f" or equal to {MEMORY}"
            )
        return act(*arguments, **named)

    return checked


def within_payload(invoke: Callable[..., Any]) -> Callable[..., Any]:
    async def checked(*request: Any, **options: Any) -> Any:
        shown = {name: value for name, value in options.items() if not name.startswith("owner_")}
        event = apigateway_v1._build_lambda_event_v1(*request[1:], **shown)
        if len(json.dumps(event)) > EVENT:
            return apigateway_v1._gw_error("REQUEST_TOO_LARGE", "Request Too Long")
        return await invoke(*request, **options)

    return checked


def with_list(get: Callable[..., Any]) -> Callable[..., Any]:
    """Without a qualifier it isn't GetProvisionedConcurrencyConfig, but the list of all."""

    def answer(name: str, qualifier: str) -> Any:
        if qualifier or name not in lambda_svc._functions:
            return get(name, qualifier)
        kept = lambda_svc._functions[name].get("provisioned_concurrency", {})
        return json_response({"ProvisionedConcurrencyConfigs": list(kept.values())})

    return answer


ecr._describe_images = describe_images
function = provisioners._RESOURCE_HANDLERS["AWS::Lambda::Function"]
function["create"] = within_quota(function["create"], 1)
function["update"] = within_quota(function["update"], 2)
apigateway_v1._invoke_lambda_proxy_v1 = within_payload(apigateway_v1._invoke_lambda_proxy_v1)
lambda_svc._get_provisioned_concurrency = with_list(lambda_svc._get_provisioned_concurrency)
main()
