"""ministack, in which ECR knows the images that the registry has.

Its own answer to DescribeImages makes the CDK skip the push. Run as: account_control.py PORT
"""

import sys
import urllib.error
import urllib.request
from typing import Any

from ministack.app import main
from ministack.core.responses import error_response_json
from ministack.services import ecr

registry = sys.argv.pop()
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
    return ecr.json_response({"imageDetails": details})


ecr._describe_images = describe_images
main()
